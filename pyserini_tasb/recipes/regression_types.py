"""The types of regressions, and of what several of them name: topic sets and what Pyserini has pre-built."""

from __future__ import annotations

import datetime as dt
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from pyserini_tasb.recipes.types import Recipe, Strict

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
    """What the machine must have; disk and memory in GB (10^9 bytes)."""

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
