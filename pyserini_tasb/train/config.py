"""The configuration of `tasb train`: one YAML file, every key checked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Pooling, Strict
from pyserini_tasb.train.run_config import MarginsConfig, Positive, RunConfig, RunData


class StudentConfig(Strict):
    """Where training starts, and how texts become vectors. Token caps count special tokens."""

    model: str
    pooling: Pooling = "cls"
    normalise: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    query_max_length: int = Field(default=30, ge=3)
    passage_max_length: int = Field(default=200, ge=3)
    dropout: float | None = Field(default=None, ge=0, lt=1)  # None: as the model's own config.json says
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    allow_bin: bool = False


class DataConfig(RunData):
    """Folders and files that `tasb data` and `tasb cluster` made."""

    clusters: Path | None = None


class SamplingConfig(Strict):
    """How a batch is composed (paper, Section 3)."""

    strategy: Literal["random", "tas", "tas-balanced"] = "tas-balanced"
    clusters_per_batch: Positive = 1
    bins: Positive = 10
    binning: Literal["equal-width", "quantile"] = "equal-width"
    lowest_margin: float | None = None
    highest_margin: float | None = None


class LossConfig(Strict):
    """Pairwise + alpha times in-batch (paper, Eq. 8)."""

    pairwise: Literal["margin-mse", "ranknet"] | None = "margin-mse"
    in_batch: Literal[
        "margin-mse", "margin-mse-eq7", "margin-mse-released", "kldiv", "listnet", "lambdarank"
    ] | None = "margin-mse"  # fmt: skip
    alpha: float = Field(default=0.75, ge=0)


class TeacherConfig(Strict):
    """The in-batch teacher, a bi-encoder or a ColBERT, and the scale that both teachers' margins are brought to."""

    in_batch: str | None = None
    rescale: MarginsConfig | None = None
    allow_bin: bool = False


class TrainConfig(RunConfig):
    """All of one training run of a student."""

    student: StudentConfig
    data: DataConfig
    sampling: SamplingConfig = SamplingConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig = TeacherConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampling.strategy != "random" and self.data.clusters is None:
            raise ValueError(f"sampling.strategy {self.sampling.strategy} needs data.clusters (see `tasb cluster`)")
        if self.loss.pairwise is None and self.loss.in_batch is None:
            raise ValueError("loss.pairwise and loss.in_batch are both absent")
        if self.loss.in_batch is not None and self.teacher.in_batch is None:
            raise ValueError("loss.in_batch needs teacher.in_batch, an encoder's name; or set `in_batch: null`")
        return self
