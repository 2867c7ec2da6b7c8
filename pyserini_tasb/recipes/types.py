"""The types of recipes. Unknown keys are refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Backend = Literal["auto", "torch", "onnx"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]


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
    pooling: Literal["cls", "mean"] = "cls"
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

    kind: Literal["dense", "bm25", "impact", "run"]
    weight: float = 1.0
    encoder: str | None = None
    k1: float | None = None
    b: float | None = None


class FusionRecipe(Recipe):
    """A named way to make one ranking of several."""

    inputs: tuple[FusionInput, ...] = Field(min_length=2)
    method: str
    normalisation: str = "none"
    missing: Literal["minimum", "zero", "drop"] = "minimum"
    depth: int = Field(default=1000, ge=1)
    output_depth: int = Field(default=1000, ge=1)
    provenance: str


class Stage(Strict):
    """One command of a regression: the arguments of `python -m`."""

    name: Literal["index", "search", "fuse", "rerank"]
    command: tuple[str, ...] = Field(min_length=1)


class ExpectedNumber(PublishedNumber):
    """A published number that a regression must reach, from neither side further away than the tolerance."""

    tolerance: float = Field(default=0.00005, ge=0)


class Regression(Recipe):
    """A named condition whose numbers are checked."""

    topics: str
    qrels: str
    stages: tuple[Stage, ...]
    expected: tuple[ExpectedNumber, ...] = Field(min_length=1)
