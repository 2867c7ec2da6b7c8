"""`tasb study`: a grid of training runs, each measured on the same tasks, as one table and one picture."""

from __future__ import annotations

import base64
import copy
import itertools
import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from pyserini_tasb.artifacts import HeldError, locked_folder, whole_text_file
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.outputs import require_folder
from pyserini_tasb.recipes.loading import as_recipe, load_recipe, set_key
from pyserini_tasb.recipes.types import Recipe, Strict
from pyserini_tasb.registry import trusting
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.results import FileResult
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.study_cells import (
    Row,
    ensure_trained,
    load_tasks,
    rank_tasks,
    save_row,
    saved_row,
    trained_model,
    what_is_trained,
)
from pyserini_tasb.training.study_report import PICTURE, TABLE, Entry, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)


def study(
    config: StudyConfig | Mapping[str, Any] | StrPath, *, settings: Sequence[str] = (), report_only: bool = False
) -> StudyResult:
    """Train a grid of models and measure each on the same tasks; what is done already is not done again.

    Several processes may work on one study: each leaves to the others what they are at, and ends when all is done.

    Args:
        config: a YAML file, a dict of the same keys (docs/study.md explains them), or a `StudyConfig`.
        settings: `key=value` or `section.key=value`, each in place of a value of the configuration, and read as YAML.
        report_only: train nothing; report what is measured so far.

    Returns:
        the table, and the rows that failed: one that fails stops no other.

    Raises:
        TasbError: a configuration, a task or a model that is none; nothing has been trained then.
        TrainingInterruptedError: a `KeyboardInterrupt`, by Ctrl-C, SIGTERM or SIGHUP, after the last step was saved;
            the same call goes on.
    """
    wanted = as_recipe(config, StudyConfig, settings)
    require_folder(wanted.output, name="`output`", ours=("cells", "rows", TABLE))
    run = StudyRun(wanted)
    failed = {} if report_only else run.run()
    measured, models = run.report()
    table = (wanted.output / TABLE).read_text(encoding="utf-8")
    return StudyResult(wanted.output, measured, models, failed, table)


@dataclass(frozen=True)
class StudyResult(FileResult):
    """A study so far.

    Attributes:
        path: the study's folder.
        measured: models that are measured.
        models: models that are to be.
        failed: row → why it failed, in this call.
        table: all that was measured, and the tests, as Markdown.
    """

    measured: int
    models: int
    failed: Mapping[str, TasbError]
    table: str = field(repr=False)

    def _repr_html_(self) -> str:
        picture = base64.b64encode((self.path / PICTURE).read_bytes()).decode()
        return f'{super()._repr_html_()}<img alt="{PICTURE}" src="data:image/png;base64,{picture}">'


SECONDS_BETWEEN_LOOKS = 2


class StudyRun:
    """A study, in this process.

    Args:
        study: its configuration.

    Raises:
        TasbError: a configuration, a task or a model that is none; nothing has been trained then.
    """

    def __init__(self, study: StudyConfig) -> None:
        self._study = study
        self._tasks = load_tasks(study.tasks)
        self._options = ScoringOptions(study.device, study.precision)
        self._measuring = {"tasks": {task.name: task.digest for task in self._tasks}, "precision": study.precision}
        self._given = {
            name: self._valued({task: load_run(path) for task, path in other.runs.items()}, {})
            for name, other in study.rows.items()
            if other.model is None
        }
        others = [self._other(name, other.model) for name, other in study.rows.items() if other.model is not None]
        self._measurements = [*others, *map(self._cell, grid(study))]

    def run(self) -> dict[str, TasbError]:
        """Do what is not done, in order, leaving to other processes what they are at; end when all is done.

        Returns:
            Title → why, of the rows that failed here. A row that failed stops no other.

        Raises:
            TrainingInterruptedError: by Ctrl-C, SIGTERM or SIGHUP.
        """
        failed: dict[str, TasbError] = {}
        left, told = self._measurements, set[str]()
        while left:
            held = [measurement for measurement in left if not self._settled(measurement, failed)]
            for measurement in held:
                if measurement.title not in told:
                    told.add(measurement.title)
                    LOG.info("%s: left to another process", measurement.title)
            if held == left:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            left = held
        return failed

    def _settled(self, measurement: _Measurement, failed: dict[str, TasbError]) -> bool:
        """Whether a row is there or has failed, in the end; not so if another process is at it."""
        if measurement.row() is not None:
            LOG.info("%s: done before", measurement.title)
            return True
        try:
            with locked_folder(measurement.folder):
                if measurement.row() is None:  # another process may have ended just now
                    LOG.info("%s", measurement.title)
                    self._measure(measurement)
        except HeldError:
            return False
        except TasbError as error:
            failed[measurement.title] = error
            LOG.warning("%s failed: %s", measurement.title, error)
        else:
            self.report()  # a grid grows over days
        return True

    def _measure(self, measurement: _Measurement) -> None:
        model, seconds = measurement.model()
        with trusting(*measurement.packages):  # a cell's card lies beside its weights
            runs = rank_tasks(model, self._tasks, self._options)
        row = self._valued(runs, measurement.about, seconds)
        save_row(row, runs, measurement.folder, re.sub(r"[^\w.+-]+", "_", measurement.title))

    def report(self) -> tuple[int, int]:
        """Write what is known by now.

        Returns:
            How many models are measured, of how many that are to be.
        """
        entries = {name: Entry(name, None, []) for name in self._study.rows}  # in the order of the configuration
        for name, row in self._given.items():
            entries[name].rows.append(row)
        found = [(each, saved) for each in self._measurements if (saved := each.row()) is not None]
        for each, saved in found:
            entries.setdefault(each.name, Entry(each.name, each.levels, [])).rows.append(saved)
        write_report(self._study, [entry for entry in entries.values() if entry.rows])
        return len(found), len(self._measurements)

    def _other(self, name: str, model: str) -> _Measurement:
        about = {"model": model_digest(model), **self._measuring}
        return _Measurement(name, name, None, self._study.output / "rows" / name, about, lambda: (model, None))

    def _cell(self, cell: Cell) -> _Measurement:
        training = what_is_trained(cell.config)

        def trained() -> tuple[str, float | None]:
            seconds = ensure_trained(cell, training)
            return trained_model(cell), seconds

        name = "+".join(cell.levels)
        about = {"training": training, **self._measuring}
        pooling = cell.config.student.pooling
        packages = (pooling.partition(":")[0].partition(".")[0],) if ":" in pooling else ()
        return _Measurement(f"{name}, seed {cell.seed}", name, cell.levels, cell.folder, about, trained, packages)

    def _valued(self, runs: dict[str, RunDict], about: dict[str, Any], seconds: float | None = None) -> Row:
        values = {task.name: task.values(runs[task.name]) for task in self._tasks if task.name in runs}
        return Row(values, about, seconds)


@dataclass(frozen=True)
class _Measurement:
    """A model's row: in its folder, or to be done.

    Args:
        title: of this row alone.
        name: of the table's line that it is part of, as in `Entry`.
        levels: as in `Entry`.
        folder: where the row is or will be, and its runs.
        about: what it depends on.
        model: makes the model that is measured, and says how many seconds a pair of its training took, if any.
        packages: whose code the study's own configuration names for it.
    """

    title: str
    name: str
    levels: tuple[str, ...] | None
    folder: Path
    about: dict[str, Any]
    model: Callable[[], tuple[str, float | None]]
    packages: tuple[str, ...] = ()

    def row(self) -> Row | None:
        """The measured row, by whatever process; None if nothing was measured, or of something else."""
        return saved_row(self.folder, self.about)


LEVEL = r"^[a-z0-9][a-z0-9.-]*$"
NAME = r"^[A-Za-z0-9][\w .+-]*$"  # of a row, and of its folder
Settings = dict[str, Any]
"""Keys of a training configuration, `key` or `section.key`, and their values."""


class Selection(Strict):
    """Cells that are trained: every combination of these levels with every seed."""

    levels: dict[str, list[str]] = Field(default={})  # axis → levels; an axis that is not here has its first level
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class Task(Strict):
    """Queries with judgments, for which passages are ranked: those of a run, or a whole collection."""

    topics: str
    qrels: str
    collection: Path
    fields: tuple[str, ...] = ()  # of the collection, as `--fields` names them
    docid_field: str | None = None
    run: str | None = None  # to be re-ranked; None: the collection is searched exhaustively
    depth: int = Field(default=100, ge=1)
    remove_query: bool = False  # drop the document whose docid is the query's id
    measures: list[str] = Field(default=["nDCG@10"], min_length=1)


class OtherRow(Strict):
    """A row beside the cells: a model that is not trained here, or runs as they are."""

    model: str | None = None
    runs: dict[str, str] = Field(default={})  # task → run

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.model is None) != bool(self.runs):
            raise ValueError("give `model`, or `runs` (task: run)")
        return self


ALWAYS_SHOWN = 2  # axes, in the label of a cell


class StudyConfig(Recipe):
    """A study. Paths: from the working directory."""

    output: Path
    train: dict[str, Any]  # a training configuration but for name, output and seed
    axes: Annotated[
        dict[str, Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Settings], Field(min_length=1)]],
        Field(min_length=1),
    ]
    cells: Annotated[list[Selection], Field(min_length=1)]
    tasks: Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Task], Field(min_length=1)]
    rows: dict[Annotated[str, Field(pattern=NAME)], OtherRow] = Field(default={})
    # letter → what a row is compared with: a row, or the cell that differs in the levels given
    letters: dict[Annotated[str, Field(pattern=r"^[a-z]$")], str | dict[str, str]] = Field(default={})
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str | None = None

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
        seed: of training.
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
                    do="leave it to one of them, or do not combine these two levels in `cells`",
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
            do="remove it; seeds stand in `cells`",
        )
