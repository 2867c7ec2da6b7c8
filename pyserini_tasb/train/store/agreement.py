"""A teacher's agreement with the labels: in how many pairs it scores the positive above the negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.train.store.pair_store import PairStore

ROWS_AT_ONCE = 1 << 20
# all-MiniLM-L6-v2 is against 5 % of the demo's pairs, whose negatives are BM25's; the published TAS-B against 17 % of
# TREC-DL's among its own first 100 hits, which are the hardest negatives.
ODD_SHARE = 0.2
# Scores are stored in fp32: differences that should be equal differ in their last bits.
RELATIVE_ERROR = 1e-6


@dataclass(frozen=True)
class Agreement:
    """Pairs by what a teacher says of them. A tie counts for neither side.

    Attributes:
        agreeing: the positive scores above the negative.
        tied: both score the same.
        against: the negative scores above the positive.
    """

    agreeing: int = 0
    tied: int = 0
    against: int = 0

    @classmethod
    def of(cls, margins: NDArray[np.floating[Any]]) -> Agreement:
        """The agreement that margins show, positive minus negative."""
        above, below = int((margins > 0).sum()), int((margins < 0).sum())
        return cls(above, margins.size - above - below, below)

    @classmethod
    def of_store(cls, store: PairStore) -> Agreement | None:
        """The agreement of a store's scores or margins; None if it has labels only."""
        if store.supervision == "labels":
            return None
        counted = store.manifest.get("agreement")
        if counted:
            return cls(**counted)
        # An older version did not count.
        parts = (store.margins(slice(start, start + ROWS_AT_ONCE)) for start in range(0, len(store), ROWS_AT_ONCE))
        return sum(map(cls.of, parts), cls())

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.agreeing + other.agreeing, self.tied + other.tied, self.against + other.against)

    def __str__(self) -> str:
        shares = f"{self._percent(self.against)} against, {self._percent(self.tied)} tied"
        return f"agrees with the labels in {self._percent(self.agreeing)} of {self._pairs:,} pairs ({shares})"

    @property
    def contradicts(self) -> bool:
        """True if the teacher puts the negative first in more than half of the pairs that it does not tie."""
        return self.against > self.agreeing

    @property
    def warning(self) -> str | None:
        """A sentence on what looks wrong; None if nothing does."""
        if self._pairs > 1 and self.tied == self._pairs:
            return "the teacher ties every pair: its scores say nothing; check them"
        if self.against <= ODD_SHARE * (self.agreeing + self.against):
            return None
        return (
            f"in {self._percent(self.against)} of the pairs the teacher puts the negative first; more than "
            f"{100 * ODD_SHARE:.0f} % are unusual: check that scores, columns and labels belong together"
        )

    def require(
        self, *, where: str, allowed: bool, allow: str = "--allow-reversed", do: str = "put the columns in order"
    ) -> None:
        """Refuse a teacher that contradicts most labels, unless `allowed`.

        Args:
            where: what has its scores.
            allowed: whether the user said to go on.
            allow: how to say so.
            do: what may help.

        Raises:
            TasbError: the teacher contradicts more labels than it agrees with.
        """
        if self.contradicts and not allowed:
            ties = f" ({self._percent(self.tied)} are ties)" if self.tied else ""
            raise TasbError(
                where=where,
                expected="a teacher that scores most positives above their negatives",
                found=f"in {self._percent(self.against)} of the pairs the teacher puts the negative first: "
                f"are the columns swapped?{ties}",
                do=f"{do}; if it is meant like that, add {allow}",
            )

    @property
    def _pairs(self) -> int:
        return self.agreeing + self.tied + self.against

    def _percent(self, count: int) -> str:
        return f"{100 * count / max(self._pairs, 1):.3g} %"


def all_equal(mean: float, deviation: float) -> bool:
    """True if margins of this mean and deviation differ by nothing but rounding."""
    return deviation <= RELATIVE_ERROR * abs(mean)
