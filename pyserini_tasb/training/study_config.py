"""The configuration of `tasb study`, a YAML file whose keys are all checked, and its grid of training runs."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from pyserini_tasb.artifacts import whole_text_file
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import load_recipe, set_key
from pyserini_tasb.recipes.types import Recipe, Strict
from pyserini_tasb.training.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = r"^[a-z0-9][a-z0-9.-]*$"
NAME = r"^[A-Za-z0-9][\w .+-]*$"  # of a row, and of its folder
Settings = dict[str, Any]
"""Keys of a training configuration, `key` or `section.key`, and their values."""


class Selection(Strict):
    """Cells to train: every combination of these levels with every seed."""

    levels: dict[str, list[str]] = Field(default={})
    """The levels of each axis. An axis that is not named has its first level."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]
    """The random seeds of training."""


class Task(Strict):
    """Queries with judgments, and the passages to rank: those of a run, or a whole collection."""

    topics: str
    """The queries, as `--topics` takes them."""
    qrels: str
    """The judgments, as `--qrels` takes them."""
    collection: Path
    """The passages, as `--corpus` takes them."""
    fields: tuple[str, ...] = ()
    """The fields of the collection that form a text, as for `--fields`."""
    docid_field: str | None = None
    """The field of the collection that has the docid."""
    run: str | None = None
    """The run to re-rank; `null` searches the whole collection."""
    depth: int = Field(default=100, ge=1)
    """The number of hits for each query."""
    remove_query: bool = False
    """Drop the document whose docid is the query's id."""
    measures: list[str] = Field(default=["nDCG@10"], min_length=1)
    """The measures, by ir-measures' names."""


class OtherRow(Strict):
    """A row beside the cells: a model that the study does not train, or existing runs."""

    model: str | None = None
    """A model to measure without training: any model that `tasb rerank` accepts."""
    runs: dict[str, str] = Field(default={})
    """The existing run of each task."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.model is None) != bool(self.runs):
            raise ValueError("give `model`, or `runs` (task: run)")
        return self


ALWAYS_SHOWN = 2  # axes, in the label of a cell


class StudyConfig(Recipe):
    """The configuration of `tasb study`. Relative paths begin at the working directory."""

    output: Path
    """The folder of the study."""
    finished: Path | None = None
    """A folder that keeps a copy of each finished row, of a few KB. Rows that are in it are not trained again: with it,
    another machine goes on. `null` keeps none."""
    train: dict[str, Any]
    """The keys of the training configuration that all cells share, without `name`, `output` and `seed`."""
    axes: Annotated[
        dict[str, Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Settings], Field(min_length=1)]],
        Field(min_length=1),
    ]
    """The axes of the grid: each axis has levels, and each level has keys (`key` or `section.key`) that replace those
    of `train`."""
    cells: Annotated[list[Selection], Field(min_length=1)]
    """The combinations to train."""
    tasks: Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Task], Field(min_length=1)]
    """The texts and judgments that every model is measured on."""
    rows: dict[Annotated[str, Field(pattern=NAME)], OtherRow] = Field(default={})
    """Rows beside the cells."""
    letters: dict[Annotated[str, Field(pattern=r"^[a-z]$")], str | dict[str, str]] = Field(default={})
    """The row with which others are compared: a row of `rows`, or the cell that differs only in the given levels."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """The number format for measuring."""
    device: str | None = None
    """The device for measuring; `null` is a GPU if one exists, or else the CPU."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for number, selection in enumerate(self.cells, 1):
            for axis, levels in selection.levels.items():
                self._require_levels(f"cells, entry {number}", axis, levels)
        for name, row in self.rows.items():
            _require(f"rows.{name}", row.runs, self.tasks)
        for letter, reference in self.letters.items():
            if isinstance(reference, str):
                _require(f"letters.{letter}", [reference], self.rows)
            else:
                for axis, level in reference.items():
                    self._require_levels(f"letters.{letter}", axis, [level])
        return self

    def meaning(self, letter: str) -> str:
        """The meaning of a letter, with what rows are compared, for readers."""
        meant = self.letters[letter]
        if isinstance(meant, str):
            return meant
        if set(meant) == set(self.axes):
            return self.label([meant[axis] for axis in self.axes])
        return " and ".join(f"{axis} {level}" for axis, level in meant.items())

    def label(self, cell: Sequence[str]) -> str:
        """A cell for readers: of the third and further axes, only levels that are not the first."""
        first = [next(iter(levels)) for levels in self.axes.values()]
        return " · ".join(level for axis, level in enumerate(cell) if axis < ALWAYS_SHOWN or level != first[axis])

    def _require_levels(self, where: str, axis: str, levels: list[str]) -> None:
        _require(where, [axis], self.axes)
        _require(f"{where}, {axis}", levels, self.axes[axis])


def _require(where: str, names: Any, known: dict[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{where}: no `{unknown[0]}` among {', '.join(known) or 'none'}")


TRAINING = "train.yaml"
SET_HERE = ("name", "output", "seed")


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' levels, with one seed.

    Args:
        levels: a level of every axis, in the order of the axes.
        seed: the seed of training.
        folder: has all of it.
        config: its training.
    """

    levels: tuple[str, ...]
    seed: int
    folder: Path
    config: TrainConfig


def grid(study: StudyConfig) -> list[Cell]:
    """Every cell once, in the order of the configuration; its training configuration is written into its folder.

    Raises:
        TasbError: a key that the study itself sets, two axes that set one key, or a training configuration that is
            none; nothing has been trained then.
    """
    _require_free(study)
    wanted: dict[tuple[tuple[str, ...], int], None] = {}
    for selection in study.cells:
        levels = [selection.levels.get(axis) or [next(iter(named))] for axis, named in study.axes.items()]
        wanted |= dict.fromkeys(itertools.product(itertools.product(*levels), selection.seeds))
    return [_cell(study, levels, seed) for levels, seed in wanted]


def _cell(study: StudyConfig, levels: tuple[str, ...], seed: int) -> Cell:
    folder = study.output / "cells" / "+".join(levels) / f"seed-{seed}"
    values = copy.deepcopy(study.train)
    values |= {"name": f"{study.name}.{'+'.join(levels)}.{seed}", "output": str(folder / "run"), "seed": seed}
    setters: dict[str, str] = {}
    for axis, level in zip(study.axes, levels, strict=True):
        for key, value in study.axes[axis][level].items():
            if key in setters:
                raise TasbError(
                    where=f"axes.{axis}.{level}",
                    expected="axes that set different keys",
                    found=f"`{key}`, which axes.{setters[key]} sets, too",
                    do="set it in one of them, or do not combine these two levels in `cells`",
                )
            setters[key] = f"{axis}.{level}"
            set_key(values, key, value)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_text_file(folder / TRAINING) as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)
    return Cell(levels, seed, folder, load_recipe(folder / TRAINING, TrainConfig))


def _require_free(study: StudyConfig) -> None:
    keys = [*study.train, *(key for axis in study.axes.values() for level in axis.values() for key in level)]
    taken = [key for key in SET_HERE if key in keys]
    if taken:
        raise TasbError(
            where=f"study {study.name}",
            expected=f"`train` and `axes` without {', '.join(SET_HERE)}: each cell has its own",
            found=", ".join(f"`{key}`" for key in taken),
            do="remove it; `cells` has the seeds",
        )
