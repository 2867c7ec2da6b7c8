"""The types of recipes: encoder cards, fusion recipes, regressions. Unknown keys are refused."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import registry_of


@dataclass(frozen=True)
class NameOf(AfterValidator):
    """A check of a field that holds a name of a registry.

    Attributes:
        axis: the registry's axis.
        further: names that mean something else, such as `auto`.
    """

    axis: str
    further: tuple[str, ...]


def name_of(axis: str, *further: str) -> NameOf:
    """A check of a field that holds a name of a registry; the field's value is the entry's `Registry.reference`."""

    def checked(name: str) -> str:
        if name in further:
            return name
        try:
            return registry_of(axis).reference(name)
        except TasbError as error:
            raise ValueError(f"expected {error.expected}; found {error.found}; {error.do}") from error

    return NameOf(checked, axis, further)


Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
Backend = Annotated[str, name_of("back-ends", "auto")]
Pooling = Annotated[str, name_of("poolings")]


class Strict(BaseModel):
    """Refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Extended(Strict):
    """Keys of which later ones are written only if they are set.

    So what does not use them is written, byte by byte, as before they existed: checkpoints and vector folders, which
    know an encoder or a configuration by a digest or by its keys, stay usable.

    Attributes:
        LATER: the later keys.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unset(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unset = {key for key in self.LATER if getattr(self, key) == fields[key].default}
        return {key: value for key, value in written(self).items() if key not in unset}


class Recipe(Strict):
    """The keys that every recipe has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    """The name that commands and other files use: the file's name without `.yaml`."""
    description: str = ""
    """One line about it, for `tasb list`."""


class PublishedNumber(Strict):
    """A published number and its source."""

    collection: str
    """The topics, such as `dl19-passage`."""
    measure: str
    """The measure, by ir-measures' name."""
    value: float
    """The number."""
    source: str
    """The publication with the number."""


class EncoderCard(Extended, Recipe):
    """A named encoder: which weights, and how a text becomes a vector.

    Token limits count special tokens. They apply to search and indexing; training has its own limits.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"dimension"})
    # Besides the weights and the number format, these keys decide the vectors.
    VECTORS: ClassVar[tuple[str, ...]] = (
        "pooling",
        "normalise",
        "dimension",
        "query_prefix",
        "passage_prefix",
        "query_max_length",
        "passage_max_length",
    )

    aliases: tuple[str, ...] = ()
    """Other names of this card. One with a slash is a hub id with the same weights, which are then loaded from there.
    """
    model: str
    """A folder (relative to the card if it begins with `.`), a hub id (`organisation/name`), or `pkg:PACKAGE/FOLDER`
    for weights inside an installed Python package."""
    pooling: Pooling = "cls"
    """How the vectors of a text's tokens become the text's vector: `cls` is the first token's, as in TAS-B; `mean` is
    the average; `last` is the last token's, for causal models. Your own is `module:name`."""
    normalise: bool = False
    """Divide vectors by their length, so that dot products are cosines."""
    dimension: int | None = Field(default=None, ge=1)
    """Cut vectors to their first numbers, this many, for a model that was trained for it (`loss.matryoshka`). With
    `normalise`, they are divided by their length after that. `null` keeps them whole."""
    query_prefix: str = ""
    """Text that comes before each query, unchanged."""
    passage_prefix: str = ""
    """Text that comes before each passage, unchanged."""
    query_max_length: int = Field(default=512, ge=3)
    """The most tokens of a query, special tokens included. Pyserini's `--max-length` can lower it."""
    passage_max_length: int = Field(default=512, ge=3)
    """The most tokens of a passage, special tokens included. Pyserini's `--max-length` can lower it."""
    backend: Backend = "torch"
    """The back end that computes vectors; `auto` is the fastest one on this machine. With `onnx`, the model is exported
    when it is first used."""
    precision: Precision = "fp32"
    """The least accurate number format to use; `auto` is bf16. If it is slow on a machine, the next more accurate one
    is used."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle file, if there are no safetensors. Its code is not run."""
    citation: str = ""
    """The publication to cite."""
    published: tuple[PublishedNumber, ...] = ()
    """Published numbers, to compare with."""


class FusionInput(Strict):
    """One of the rankings that are fused: a search, or an existing run."""

    kind: Literal["dense", "bm25", "doct5query", "impact", "run"]
    """The kind of ranking: a search with vectors, a search with words in one of three kinds of index, or an existing
    run."""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    """The factor of this ranking's scores."""
    encoder: str | None = None
    """The encoder of a `dense` input, or the query encoder (one of Pyserini's) of an `impact` input."""
    index: str | None = None
    """The index to search: a path, or the name of a prebuilt index of Pyserini."""
    k1: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """BM25's k1, if `b` is given too."""
    b: float | None = Field(default=None, ge=0, le=1)
    """BM25's b, if `k1` is given too."""
    theoretical_minimum: float | None = Field(default=None, allow_inf_nan=False)
    """The lowest score that the model can give. The default is 0 for words and -1 for an encoder that normalises;
    other dot products have none."""

    @model_validator(mode="after")
    def _what_the_kind_needs(self) -> FusionInput:
        if self.kind == "dense" and self.encoder is None:
            raise ValueError("a dense input needs `encoder`")
        if self.encoder is not None and self.kind not in ("dense", "impact"):
            raise ValueError(f"`{self.kind}` takes no `encoder`")
        if (self.k1, self.b) != (None, None) and self.kind not in ("bm25", "doct5query"):
            raise ValueError(f"`{self.kind}` takes no `k1` and `b`")
        if (self.k1 is None) != (self.b is None):
            raise ValueError("give both `k1` and `b`, or neither")
        return self


class WeightProvenance(Strict):
    """Where the weights of a fusion come from. The measured values exist only for tuned weights."""

    tuned: bool
    """True if `tasb tune` found the weights."""
    source: str
    """A sentence that says where the weights come from."""
    runs: tuple[str, ...] = ()
    """The runs that the weights were tuned on."""
    qrels: tuple[str, ...] = ()
    """The judgments that the weights were tuned on."""
    remove_query: bool = False
    """True if documents whose id is the query's were dropped first."""
    queries: int | None = Field(default=None, ge=1)
    """The number of queries that the weights were tuned on."""
    measure: str | None = None
    """The measure that was tuned."""
    search: str | None = None
    """How the weights were searched for."""
    depth: int | None = Field(default=None, ge=1)
    """The number of hits of each run that were used."""
    date: str | None = None
    """The day of the tuning."""
    tool: str | None = None
    """The program that tuned, with its version."""
    tuned_value: float | None = None
    """The measure on the queries that the weights were tuned on."""
    held_out: str | None = None
    """The other queries on which the weights were tried."""
    held_out_value: float | None = None
    """The measure on those other queries."""


class FusionRecipe(Recipe):
    """A named way to fuse several rankings into one."""

    inputs: tuple[FusionInput, ...] = Field(min_length=2)
    """The rankings that are fused, in the order of `--runs`."""
    method: str
    """The fusion method: a name of `tasb list fusion-methods`, or your own, as `module:name`."""
    normalization: str = "none"
    """The normalisation, which first makes the scores of the lists comparable: a name of `tasb list normalizations`, or
    your own, as `module:name`."""
    missing: Literal["minimum", "zero", "theoretical", "drop", "nothing"] | None = None
    """The score of a document that a list lacks: the list's lowest (`minimum`), 0 (`zero`), or that of the lowest
    possible score (`theoretical`). `drop` leaves the document out. The default is the method's own."""
    rrf_k: float = Field(default=60, ge=0, allow_inf_nan=False)
    """The constant k of reciprocal rank fusion."""
    depth: int = Field(default=1000, ge=1)
    """The number of hits from each input."""
    hits: int = Field(default=1000, ge=1)
    """The number of hits to keep for each query."""
    provenance: WeightProvenance
    """Where the weights come from."""


StageKind = Literal["index", "search", "fuse", "rerank"]
STAGE_KINDS: tuple[StageKind, ...] = ("index", "search", "fuse", "rerank")


class MeasureArguments(Strict):
    """A measure by ir-measures' name, as arguments of trec_eval, and as reports call it."""

    measure: str
    """The measure, by ir-measures' name."""
    trec_eval: str
    """The arguments of trec_eval that print it."""
    label: str
    """The measure's name in reports."""


class TopicSet(Recipe):
    """Topics, their qrels, and their usual measures."""

    topics: str
    """The topics: a name of Pyserini's, or a path."""
    qrels: str
    """The judgments: a name that `tasb evaluate` knows, or a path among the outputs."""
    measures: tuple[MeasureArguments, ...] = Field(min_length=1)
    """The usual measures for these topics."""


class Prebuilt(Recipe):
    """An archive that Pyserini downloads by name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Pyserini's name of the archive."""
    kind: Literal["faiss", "lucene", "queries"]
    """The content: an index of Faiss or Lucene, or encoded queries."""
    archive: str
    """The archive's file name."""
    bytes: int = Field(ge=1)
    """The archive's size."""
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    """The archive's MD5 checksum."""
    records: int | None = Field(default=None, ge=1)
    """The number of documents of an index, or of vectors of encoded queries."""


class Source(Strict):
    """Where a number is from."""

    kind: Literal["paper", "pyserini-2cr", "anserini", "measured"]
    """The kind of source."""
    reference: str
    """The table, the 2CR condition, or the command that measured it."""
    date: dt.date | None = None
    """The day of the measurement."""
    checkpoints: tuple[str, ...] = ()
    """The models behind the number, by hub id. A model without a hub id has a name, too. Under `expected`, they must be
    exactly the models of the run."""

    @model_validator(mode="after")
    def _date_of_what_was_measured(self) -> Source:
        if (self.date is None) == (self.kind == "measured"):
            raise ValueError("`measured` needs a `date`, and only `measured` takes one")
        return self


class ExpectedValues(Strict):
    """Values of one source that a run must reach, within the tolerance on either side.

    Values are compared as trec_eval prints them, with four decimals.
    """

    source: Source
    """Where the values are from."""
    values: dict[str, FiniteFloat] = Field(min_length=1)
    """The measures, by ir-measures' names, and their values."""
    tolerance: float = Field(default=0, ge=0, allow_inf_nan=False)
    """The largest allowed difference from the value, on either side."""
    reason: str | None = None
    """Why there is a tolerance."""

    @model_validator(mode="after")
    def _reason_for_tolerance(self) -> ExpectedValues:
        if bool(self.tolerance) != bool(self.reason):
            raise ValueError("a `tolerance` needs its `reason`, and a `reason` its `tolerance`")
        return self


class CitedValues(Strict):
    """Values of one source that are shown beside the run's for information only; `note` says why."""

    source: Source
    """Where the values are from."""
    values: dict[str, FiniteFloat] = Field(min_length=1)
    """The measures, by ir-measures' names, and their values."""
    note: str
    """Why these values are for information only."""


class Stage(Strict):
    """One command: the arguments of `python -m`. Paths are relative to the folder of outputs."""

    stage: StageKind
    """The kind of command."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    """The stage's name, needed where there are several."""
    command: tuple[str, ...] = Field(min_length=1)
    """The arguments of `python -m`."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """The files and folders that the command makes, in the folder of outputs."""

    @field_validator("outputs")
    @classmethod
    def _inside_the_folder(cls, outputs: tuple[str, ...]) -> tuple[str, ...]:
        # What is there is removed before the command runs.
        for output in map(PurePosixPath, outputs):
            if output.is_absolute() or not output.parts or ".." in output.parts:
                raise ValueError("outputs must be inside the folder of outputs")
        return outputs


class NeededModel(Strict):
    """An encoder's weights, and their approximate size."""

    encoder: str
    """The encoder, as `--encoder` takes it."""
    bytes: int = Field(ge=1)
    """The approximate size of its weights."""


class Resources(Strict):
    """The machine that a regression needs; disk and memory in GB (10^9 bytes)."""

    disk_gb: float = Field(ge=0)
    """Disk space in GB (10^9 bytes)."""
    memory_gb: float = Field(ge=0)
    """Memory in GB (10^9 bytes)."""
    gpu: bool = False
    """True if a GPU is needed."""
    java: bool = False
    """True if Java is needed."""


class Regression(Recipe):
    """An experiment whose scores are checked."""

    topics: str
    """The topic set: a file of `regressions/topics`, by name or path."""
    checkpoints: tuple[str, ...] = ()
    """The models that made the run, by hub id. Needed where `models` and `runs_of` do not name them."""
    remove_query: bool = False
    """Drop the document whose id is the query's, where queries are documents of the collection (ArguAna, Quora)."""
    prebuilt: tuple[str, ...] = ()
    """The indexes and encoded queries that Pyserini downloads: files of `regressions/prebuilt`, by name or path."""
    models: tuple[NeededModel, ...] = ()
    """The encoders whose weights the regression needs."""
    resources: Resources
    """The machine that the regression needs."""
    runs_of: tuple[str, ...] = ()
    """The regressions whose runs this one needs. Their stages run first."""
    stages: tuple[Stage, ...] = ()
    """The commands, in order."""
    run: str
    """The run to evaluate: a file that a stage makes, any other file, or a name in `regressions/data`."""
    expected: Literal["measure"] | tuple[ExpectedValues, ...]
    """The values to reach; or `measure` if none are published. Then the first run's values are recorded, and later runs
    are compared with them."""
    cited: tuple[CitedValues, ...] = ()
    """Values that are shown beside the run's for information only."""

    @model_validator(mode="after")
    def _something_to_check(self) -> Regression:
        if not self.expected:
            raise ValueError("`expected` needs values, or `measure`")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("each of several stages needs a `name` of its own")
        return self
