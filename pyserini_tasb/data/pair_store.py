"""Training pairs in memory-mapped arrays, grouped by query; and how far a teacher agrees with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pyserini_tasb.artifacts import read_manifest, values_explained
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.arrays import open_array
from pyserini_tasb.formats.text_store import TextStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


KIND, VERSION = "pair store", 1
Supervision = Literal["scores", "margins", "labels"]
"""What is known of a pair: the teacher's two scores, their difference only, or just which passage is relevant."""

QUERIES, PASSAGES = "queries", "passages"
PAIR_OFFSETS, POSITIVES, NEGATIVES = "pair_offsets.npy", "positives.npy", "negatives.npy"
SCORES, MARGINS = "scores.npy", "margins.npy"
KNOWN_OFFSETS, KNOWN_POSITIVES = "known_positive_offsets.npy", "known_positives.npy"
ROWS_AT_ONCE = 1 << 20
# all-MiniLM-L6-v2 is against 5 % of the demo's pairs, whose negatives are BM25's; the published TAS-B against 17 % of
# TREC-DL's among its own first 100 hits, which are the hardest negatives.
ODD_SHARE = 0.2
# Scores are stored in fp32: differences that should be equal differ in their last bits.
RELATIVE_ERROR = 1e-6


class PairStore:
    """An open pair store; `open_pair_store` makes it.

    Attributes:
        folder: where it is.
        queries: texts of the queries.
        passages: texts of the passages.
        offsets: [queries + 1]; the pairs of query i are rows offsets[i] to offsets[i+1].
        positives: [pairs] indices of passages.
        negatives: [pairs] indices of passages.
        scores: [pairs, 2] the teacher's score of the positive and of the negative; None unless supervision is scores.
        supervision: `scores`, `margins` or `labels`.
        manifest: what the builder noted: counts, sources, statistics.
        fingerprint: changes when the content does.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        with values_explained(folder):
            self.fingerprint: str = manifest["fingerprint"]
            self.supervision = _supervision(manifest["supervision"])
        self.queries, self.passages = TextStore(folder / QUERIES), TextStore(folder / PASSAGES)
        self.offsets: NDArray[np.int64] = open_array(folder / PAIR_OFFSETS, np.int64)
        self.positives: NDArray[np.uint32] = open_array(folder / POSITIVES, np.uint32)
        self.negatives: NDArray[np.uint32] = open_array(folder / NEGATIVES, np.uint32)
        self.scores: NDArray[np.float32] | None = None
        self._margins: NDArray[np.float32] | None = None
        if self.supervision == "scores":
            self.scores = open_array(folder / SCORES, np.float32, dimensions=2)
        elif self.supervision == "margins":
            self._margins = open_array(folder / MARGINS, np.float32)
        self._known_offsets = open_array(folder / KNOWN_OFFSETS, np.int64)
        self._known_positives = open_array(folder / KNOWN_POSITIVES, np.uint32)
        self._require_agreement()

    def __len__(self) -> int:
        return len(self.positives)

    def __reduce__(self) -> tuple[Callable[[Path], PairStore], tuple[Path]]:
        """Another process that gets the store opens it again and shares the mapped files."""
        return open_pair_store, (self.folder.absolute(),)

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows: its score of the positive minus that of the negative.

        Raises:
            TasbError: the store has labels only.
        """
        if self.scores is not None:
            # `take` of chosen rows is eight times as fast as indexing them.
            scores = self.scores[rows] if isinstance(rows, slice) else self.scores.take(rows, axis=0)
            return scores[:, 0] - scores[:, 1]
        if self._margins is None:
            raise TasbError(
                where=str(self.folder),
                expected="pairs with a teacher's scores or margins",
                found="pairs with labels only",
                do="score them with a teacher first, or use a loss and a sampler that need labels only",
            )
        return self._margins[rows]

    def known_positives(self, query: int) -> NDArray[np.uint32]:
        """Sorted distinct passages known relevant to a query: by its pairs, and by qrels given to the builder."""
        start, end = self._known_offsets[query : query + 2].tolist()
        return self._known_positives[start:end]

    def _require_agreement(self) -> None:
        pairs = len(self.positives)
        values = self.scores if self.scores is not None else self._margins
        agree = (
            len(self.offsets) == len(self._known_offsets) == len(self.queries) + 1
            and self.offsets[0] == 0
            and self.offsets[-1] == pairs == len(self.negatives)
            and (values is None or len(values) == pairs)
            and self._known_offsets[-1] == len(self._known_positives)
        )
        if not agree:
            raise TasbError(
                where=str(self.folder),
                expected="arrays of the same pairs",
                found="lengths that do not fit",
                do="the store is damaged: build it again",
            )


def open_pair_store(folder: Path) -> PairStore:
    """Open what `tasb pairs` built. Nothing is read before it is asked for.

    Raises:
        TasbError: not a pair store, a damaged one, or one of a newer format.
    """
    return PairStore(folder, read_manifest(folder, KIND, VERSION))


def _supervision(written: str) -> Supervision:
    kinds: dict[str, Supervision] = {kind: kind for kind in get_args(Supervision)}
    return kinds[written]


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
        """A sentence on what looks wrong, or None."""
        if self._pairs > 1 and self.tied == self._pairs:
            return "the teacher gives both passages of every pair the same score, so its scores are useless: check them"
        if self.against <= ODD_SHARE * (self.agreeing + self.against):
            return None
        return (
            f"in {self._percent(self.against)} of the pairs the teacher puts the negative first; more than "
            f"{100 * ODD_SHARE:.0f} % are unusual: check that scores, columns and labels belong together"
        )

    def require(
        self, *, where: str, allowed: bool, allow: str | None = None, do: str = "correct the order of the columns"
    ) -> None:
        """Refuse a teacher that contradicts most labels, unless `allowed`.

        Args:
            where: what has its scores.
            allowed: whether the user said to go on.
            allow: how to say so; by default, the argument `allow_reversed`.
            do: what may help.

        Raises:
            TasbError: the teacher contradicts more labels than it agrees with.
        """
        if self.contradicts and not allowed:
            allow = allow or f"{argument('allow_reversed', True)}"
            ties = f" ({self._percent(self.tied)} are ties)" if self.tied else ""
            raise TasbError(
                where=where,
                expected="a teacher that scores most positives above their negatives",
                found=f"in {self._percent(self.against)} of the pairs the teacher puts the negative first: "
                f"are the columns swapped?{ties}",
                do=f"{do}; if this is intended, add {allow}",
            )

    @property
    def _pairs(self) -> int:
        return self.agreeing + self.tied + self.against

    def _percent(self, count: int) -> str:
        return f"{100 * count / max(self._pairs, 1):.3g} %"


def all_equal(mean: float, deviation: float) -> bool:
    """True if margins of this mean and deviation differ by nothing but rounding."""
    return deviation <= RELATIVE_ERROR * abs(mean)
