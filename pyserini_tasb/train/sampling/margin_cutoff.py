"""Pairs whose teacher's margin is too small or too large are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.train.sampling.draw import ScoredPairs

ROWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class MarginCutoff:
    """Only pairs with a margin from `lowest` to `highest` are drawn.

    Args:
        lowest: no limit if None.
        highest: likewise.

    Raises:
        TasbError: no margin can be between them.
    """

    lowest: float | None = None
    highest: float | None = None

    def __post_init__(self) -> None:
        if not self._low <= self._high:
            raise TasbError(
                expected="a lowest margin that is at most the highest",
                found=f"{self.lowest} and {self.highest}",
                do="change sampling.lowest_margin or sampling.highest_margin",
            )

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self.lowest is not None or self.highest is not None

    def keeps(self, margins: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which pairs may be drawn. Margins that are not finite are outside every limit."""
        finite = np.isfinite(margins)
        return finite & (margins >= self._low) & (margins <= self._high) if self else finite

    def usable(self, pairs: ScoredPairs) -> NDArray[np.bool_]:
        """[queries] whether a query has a pair that may be drawn.

        With a limit this reads every margin once (about a second for 40M pairs), in pieces of bounded memory.
        """
        offsets = pairs.offsets
        usable = np.diff(offsets) > 0
        if not self:
            return usable
        first = 0
        while first < len(usable):
            beyond = int(np.searchsorted(offsets, offsets[first] + ROWS_AT_ONCE, side="right")) - 1
            last = min(max(beyond, first + 1), len(usable))
            filled = first + np.flatnonzero(usable[first:last])
            if len(filled):
                rows = slice(int(offsets[first]), int(offsets[last]))
                usable[filled] = np.logical_or.reduceat(self.keeps(pairs.margins(rows)), offsets[filled] - rows.start)
            first = last
        return usable

    @property
    def _low(self) -> float:
        return -np.inf if self.lowest is None else self.lowest

    @property
    def _high(self) -> float:
        return np.inf if self.highest is None else self.highest
