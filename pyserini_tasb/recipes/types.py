"""The types of recipes: encoder cards, fusion recipes, regressions. Unknown keys are refused."""

from __future__ import annotations

import datetime as dt
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import registry_of


def name_of(axis: str, *further: str) -> AfterValidator:
    """A check of a field that holds a name of a registry; the field's value is the entry's `Registry.reference`.

    Args:
        axis: of the registry.
        further: names that mean something else, such as `auto`.
    """

    def checked(name: str) -> str:
        if name in further:
            return name
        try:
            return registry_of(axis).reference(name)
        except TasbError as error:
            raise ValueError(f"expected {error.expected}; found {error.found}; {error.do}") from error

    return AfterValidator(checked)


Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
Backend = Annotated[str, name_of("back-ends", "auto")]
Pooling = Annotated[str, name_of("poolings")]


class Strict(BaseModel):
    """Refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Strict):
    """The keys that every recipe has."""

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
    normalization: str = "none"
    missing: Literal["minimum", "zero", "theoretical", "drop", "nothing"] | None = None
    rrf_k: float = Field(default=60, ge=0, allow_inf_nan=False)
    depth: int = Field(default=1000, ge=1)
    hits: int = Field(default=1000, ge=1)
    provenance: WeightProvenance


StageKind = Literal["index", "search", "fuse", "rerank"]
STAGE_KINDS: tuple[StageKind, ...] = ("index", "search", "fuse", "rerank")


class MeasureArguments(Strict):
    """A measure by ir-measures' name, as arguments of trec_eval, and as reports call it."""

    measure: str
    trec_eval: str
    label: str


class TopicSet(Recipe):
    """Topics, their qrels, and the measures that are customary for them."""

    topics: str
    qrels: str
    measures: tuple[MeasureArguments, ...] = Field(min_length=1)


class Prebuilt(Recipe):
    """An archive that Pyserini downloads by name; `name` is that name.

    `records` are documents of an index, vectors of encoded queries.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    kind: Literal["faiss", "lucene", "queries"]
    archive: str
    bytes: int = Field(ge=1)
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    records: int | None = Field(default=None, ge=1)


class Source(Strict):
    """Where a number is from.

    Args:
        kind: of source.
        reference: a table, a 2CR condition or, for what was measured, the command.
        date: of what was measured.
        checkpoints: the models behind the number, by hub id; one that nobody published has a name too.
    """

    kind: Literal["paper", "pyserini-2cr", "anserini", "measured"]
    reference: str
    date: dt.date | None = None
    checkpoints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _date_of_what_was_measured(self) -> Source:
        if (self.date is None) == (self.kind == "measured"):
            raise ValueError("`measured` needs a `date`, and nothing else takes one")
        return self


class ExpectedValues(Strict):
    """Values of one source that a run must reach, from neither side further away than the tolerance.

    Values are compared as trec_eval prints them, with four decimals.
    """

    source: Source
    values: dict[str, FiniteFloat] = Field(min_length=1)
    tolerance: float = Field(default=0, ge=0, allow_inf_nan=False)
    reason: str | None = None

    @model_validator(mode="after")
    def _reason_for_tolerance(self) -> ExpectedValues:
        if bool(self.tolerance) != bool(self.reason):
            raise ValueError("a `tolerance` needs its `reason`, and a `reason` its `tolerance`")
        return self


class CitedValues(Strict):
    """Values of one source that are shown beside the run's and judge nothing; `note` says why not."""

    source: Source
    values: dict[str, FiniteFloat] = Field(min_length=1)
    note: str


class Stage(Strict):
    """One command: the arguments of `python -m`. Paths are relative to the folder of outputs."""

    stage: StageKind
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    command: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[str, ...] = Field(min_length=1)

    @field_validator("outputs")
    @classmethod
    def _inside_the_folder(cls, outputs: tuple[str, ...]) -> tuple[str, ...]:
        # What is there is removed before the command runs.
        for output in map(PurePosixPath, outputs):
            if output.is_absolute() or not output.parts or ".." in output.parts:
                raise ValueError("outputs are inside the folder of outputs")
        return outputs


class NeededModel(Strict):
    """An encoder's weights, and about how large they are."""

    encoder: str
    bytes: int = Field(ge=1)


class Resources(Strict):
    """The machine that is needed; disk and memory in GB (10^9 bytes)."""

    disk_gb: float = Field(ge=0)
    memory_gb: float = Field(ge=0)
    gpu: bool = False
    java: bool = False


class Regression(Recipe):
    """A condition whose numbers are checked.

    `checkpoints` are the models that made its run, by hub id, where these are not those of `models` and `runs_of`.
    """

    topics: str
    checkpoints: tuple[str, ...] = ()
    remove_query: bool = False
    prebuilt: tuple[str, ...] = ()
    models: tuple[NeededModel, ...] = ()
    resources: Resources
    runs_of: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    run: str
    expected: Literal["measure"] | tuple[ExpectedValues, ...]
    cited: tuple[CitedValues, ...] = ()

    @model_validator(mode="after")
    def _something_to_check(self) -> Regression:
        if not self.expected:
            raise ValueError("`expected` needs values, or `measure`")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("each of several stages needs a `name` of its own")
        return self
