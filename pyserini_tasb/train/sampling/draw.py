"""What a sampler draws from, and what it draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ScoredPairs(Protocol):
    """Passage pairs of queries; the pairs of query i are rows `offsets[i]:offsets[i + 1]`. A pair store is one."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First rows, [queries + 1]."""

    @property
    def supervision(self) -> str:
        """`scores` or `margins` of a teacher, or `labels` alone."""

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows: score of the positive minus score of the negative."""


@dataclass(frozen=True)
class Draw:
    """A batch, as numbers.

    Args:
        queries: [b] distinct queries.
        rows: [b] one row of the pairs for each query.
    """

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]


class Sampler(Protocol):
    """Composes batches."""

    def draw(self, step: int) -> Draw:
        """The batch of a step, a function of seed and step alone: no batch depends on those drawn before it."""
