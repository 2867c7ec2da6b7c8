"""The types of recipes. Unknown keys are refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Backend = Literal["auto", "torch", "onnx"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
Pooling = Literal["cls", "mean", "last"]


class Strict(BaseModel):
    """Refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Strict):
    """What every recipe has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    description: str = ""


class PublishedNumber(Strict):
    """A number somebody published, and where."""

    collection: str
    measure: str
    value: float
    source: str


class EncoderCard(Recipe):
    """A named encoder: which weights, and how a text becomes a vector.

    Token caps count special tokens. They hold for search and indexing; training has its own.
    """

    aliases: tuple[str, ...] = ()
    model: str
    pooling: Pooling = "cls"
    normalise: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    query_max_length: int = Field(default=512, ge=3)
    passage_max_length: int = Field(default=512, ge=3)
    backend: Backend = "torch"
    precision: Precision = "fp32"
    allow_bin: bool = False
    citation: str = ""
    published: tuple[PublishedNumber, ...] = ()


class FusionInput(Strict):
    """One of the rankings that are fused: searched for, or a run that exists."""

    kind: Literal["dense", "bm25", "doct5query", "impact", "run"]
    weight: float = Field(default=1.0, allow_inf_nan=False)
    encoder: str | None = None
    index: str | None = None
    k1: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    b: float | None = Field(default=None, ge=0, le=1)
    theoretical_minimum: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _what_the_kind_needs(self) -> FusionInput:
        if self.kind == "dense" and self.encoder is None:
            raise ValueError("a dense input needs `encoder`")
        if self.encoder is not None and self.kind not in ("dense", "impact"):
            raise ValueError(f"`{self.kind}` takes no `encoder`")
        if (self.k1, self.b) != (None, None) and self.kind not in ("bm25", "doct5query"):
            raise ValueError(f"`{self.kind}` takes no `k1` and `b`")
        if (self.k1 is None) != (self.b is None):
            raise ValueError("give both of `k1` and `b`, or none")
        return self


class WeightProvenance(Strict):
    """Where the weights of a fusion come from; what was measured is there only where they were tuned."""

    tuned: bool
    source: str
    runs: tuple[str, ...] = ()
    qrels: tuple[str, ...] = ()
    remove_query: bool = False
    queries: int | None = Field(default=None, ge=1)
    measure: str | None = None
    search: str | None = None
    depth: int | None = Field(default=None, ge=1)
    date: str | None = None
    tool: str | None = None
    tuned_value: float | None = None
    held_out: str | None = None
    held_out_value: float | None = None


class FusionRecipe(Recipe):
    """A named way to make one ranking of several."""

    inputs: tuple[FusionInput, ...] = Field(min_length=2)
    method: str
    normalisation: str = "none"
    missing: Literal["minimum", "zero", "theoretical", "drop", "nothing"] | None = None
    rrf_k: float = Field(default=60, ge=0, allow_inf_nan=False)
    depth: int = Field(default=1000, ge=1)
    output_depth: int = Field(default=1000, ge=1)
    provenance: WeightProvenance
