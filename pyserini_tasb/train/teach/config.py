"""The configurations of `tasb teach cat` and `tasb teach colbert`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Strict
from pyserini_tasb.train.run_config import MarginsConfig, RunConfig


class TeacherModel(Strict):
    """Where training starts. Token caps count special tokens, and each side's own."""

    model: str
    query_max_length: int = Field(default=30, ge=3)
    passage_max_length: int = Field(default=200, ge=3)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    allow_bin: bool = False


class ColBertModel(TeacherModel):
    """With what its compressor and its queries look like.

    Unless they are given, a ColBERT that is taught further keeps its own, and a new one has a dimension of 128 and 8
    [MASK] tokens.
    """

    dimension: int | None = Field(default=None, ge=1)
    query_masks: int | None = Field(default=None, ge=0)


class TeachConfig(RunConfig):
    """All of one training run of a teacher. Batches are random: clusters are for the student."""

    teacher: TeacherModel
    loss: Literal["ranknet", "margin-mse"]
    rescale: MarginsConfig | None = None

    @model_validator(mode="after")
    def _rescales_margins(self) -> Self:
        if self.rescale is not None and self.loss != "margin-mse":
            raise ValueError(f"rescale is for the margins of loss margin-mse; {self.loss} learns from labels")
        return self


class TeachCatConfig(TeachConfig):
    """Of BERT_CAT: RankNet on triples, as the paper's teachers; or Margin-MSE on another teacher's scores."""

    loss: Literal["ranknet", "margin-mse"] = "ranknet"


class TeachColBertConfig(TeachConfig):
    """Of ColBERT: Margin-MSE on BERT_CAT's scores."""

    teacher: ColBertModel
    loss: Literal["ranknet", "margin-mse"] = "margin-mse"
