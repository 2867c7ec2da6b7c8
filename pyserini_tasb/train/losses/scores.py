"""Every query of a batch against every passage of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InBatchScores:
    """Scores of b queries with the b positives and the b negatives of their batch.

    Attributes:
        positives: [b, b], row i and column j: s(q_i, p_j+). The diagonal holds the queries' own positives.
        negatives: [b, b], s(q_i, p_j-). The diagonal holds their own negatives.

    Raises:
        ValueError: another shape.
    """

    positives: Tensor
    negatives: Tensor

    def __post_init__(self) -> None:
        _require_squares(self.positives, self.negatives)

    @property
    def size(self) -> int:
        """b, the number of queries."""
        return len(self.positives)

    def to(self, precision: torch.dtype) -> InBatchScores:
        """The same in another floating-point type."""
        return InBatchScores(self.positives.to(precision), self.negatives.to(precision))

    def detach(self) -> InBatchScores:
        """The same without gradients."""
        return InBatchScores(self.positives.detach(), self.negatives.detach())

    def margins(self) -> InBatchScores:
        """How far each passage is below the query's own positive: s(q_i, p_i+) - s(q_i, p_j), for both blocks."""
        own = self.positives.diagonal().unsqueeze(1)
        return InBatchScores(own - self.positives, own - self.negatives)

    def lists(self) -> Tensor:
        """One list a query, [b, 2b]: all positives, then all negatives."""
        return torch.cat([self.positives, self.negatives], dim=1)


@dataclass(frozen=True)
class KnownPositives:
    """Which of a batch's passages are known to be relevant to which of its queries, and so are no negatives of them.

    Attributes:
        positives: bool [b, b], True where p_j+ is known relevant to q_i. Its diagonal, the own positives, is not read.
        negatives: bool [b, b], True where p_j- is. The diagonal is True for a query whose own negative is relevant.

    Raises:
        ValueError: another shape or type.
    """

    positives: Tensor
    negatives: Tensor

    def __post_init__(self) -> None:
        _require_squares(self.positives, self.negatives)
        if {self.positives.dtype, self.negatives.dtype} != {torch.bool}:
            raise ValueError(f"expected bool masks, found {self.positives.dtype} and {self.negatives.dtype}")

    @classmethod
    def none(cls, size: int, device: torch.device | str = "cpu") -> KnownPositives:
        """Masks for a batch of `size` queries in which nothing more is known."""
        empty = torch.zeros(size, size, dtype=torch.bool, device=device)
        return cls(empty, empty)

    @property
    def size(self) -> int:
        """b, the number of queries."""
        return len(self.positives)

    def other_passages(self) -> tuple[Tensor, Tensor]:
        """For both blocks bool [b, b], True where passage j is another query's and not known relevant to query i."""
        others = ~torch.eye(self.size, dtype=torch.bool, device=self.positives.device)
        return others & ~self.positives, others & ~self.negatives

    def lists(self) -> Tensor:
        """Masks [b, 2b], True for what leaves a query's list (`InBatchScores.lists`); never the own positive."""
        own = torch.eye(self.size, dtype=torch.bool, device=self.positives.device)
        return torch.cat([self.positives & ~own, self.negatives], dim=1)


def _require_squares(positives: Tensor, negatives: Tensor) -> None:
    size = len(positives) if positives.ndim else 0
    if positives.shape != (size, size) or negatives.shape != (size, size):
        raise ValueError(f"expected two matrices [b, b], found {tuple(positives.shape)} and {tuple(negatives.shape)}")
