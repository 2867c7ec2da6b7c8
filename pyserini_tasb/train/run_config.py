"""What every training configuration has, whatever is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Recipe, Strict

Positive = Annotated[int, Field(ge=1)]


class RunData(Strict):
    """Folders that `tasb data` made."""

    pairs: Path
    validation: Path | None = None
    allow_reversed: bool = False  # train on pairs whose teacher contradicts most labels


class MarginsConfig(Strict):
    """Deviation, and mean if given, that a teacher's margins are brought to. Without a mean, zero stays zero."""

    mean: float | None = None
    deviation: float = Field(gt=0)


class OptimiserConfig(Strict):
    """The paper's optimiser is Adam at 7e-6."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=7e-6, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)


class ScheduleConfig(Strict):
    """The learning rate's course."""

    name: Literal["constant", "cosine", "linear", "released"] = "constant"
    warmup_steps: int = Field(default=1_000, ge=0)
    floor: float = Field(default=0.0, ge=0, le=1)


class ValidationConfig(Strict):
    """Early stopping on approximate retrieval (paper, Section 4.3)."""

    every: Positive = 4_000
    patience: Positive = 30
    measure: str = "nDCG@10"


class CheckpointConfig(Strict):
    """How often the whole state is saved, and how many states are kept beside the best."""

    every: Positive = 1_000
    keep: Positive = 2


class RunConfig(Recipe):
    """All of one training run but the model, what it learns from, and its losses. Paths: from the working directory."""

    output: Path
    data: RunData
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    batch_size: int = Field(default=32, ge=2)
    accumulate: Positive = 1  # batches to one optimiser step
    max_steps: Positive | None = None
    gradient_cache: bool = False
    tokens_per_forward: Positive | None = None  # None: by the device
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = Field(default=208_973_249, ge=0, lt=2**63)
    workers: int = Field(default=1, ge=0)
    log_every: Positive = 10

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_steps is None and self.data.validation is None:
            raise ValueError("training would never end: give max_steps, or data.validation for early stopping")
        if self.schedule.name in {"cosine", "linear"} and self.max_steps is None:
            raise ValueError(f"schedule.name {self.schedule.name} needs max_steps: else it has no end to go down to")
        return self
