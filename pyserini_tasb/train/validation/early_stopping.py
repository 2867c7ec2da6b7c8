"""When to stop: after `patience` evaluations in a row without a new best value (paper, Section 4.3)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class EarlyStopping:
    """What early stopping knows; it goes into every checkpoint.

    Attributes:
        patience: evaluations without improvement after which training stops; the paper's is 30.
        best_value: the highest value so far; None before the first.
        best_step: the step it was measured at, which is the model to keep.
        without_improvement: evaluations since then.
    """

    patience: int
    best_value: float | None = None
    best_step: int | None = None
    without_improvement: int = 0

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.without_improvement >= self.patience

    def after(self, step: int, value: float) -> EarlyStopping:
        """The state after an evaluation; `best_step` is `step` if it improved.

        An equal value is no improvement, nor is one that is not a number: a model whose vectors are broken is not kept.
        """
        if math.isfinite(value) and (self.best_value is None or value > self.best_value):
            return replace(self, best_value=value, best_step=step, without_improvement=0)
        return replace(self, without_improvement=self.without_improvement + 1)

    def to_json(self) -> dict[str, Any]:
        """The same as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> EarlyStopping:
        """What `to_json` gave."""
        return cls(**state)
