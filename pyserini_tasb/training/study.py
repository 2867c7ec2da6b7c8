"""`study`: a grid of training runs, measured on the same tasks, as one table and one picture."""

from __future__ import annotations

import base64
import logging
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import HeldError, locked_folder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.outputs import require_folder
from pyserini_tasb.recipes.loading import as_recipe
from pyserini_tasb.registry import trusting
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.results import FileResult
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
from pyserini_tasb.training.study_config import StudyConfig, grid
from pyserini_tasb.training.study_report import PICTURE, TABLE, Entry, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.results import StrPath
    from pyserini_tasb.training.study_config import Cell


LOG = logging.getLogger(__name__)


def study(
    config: StudyConfig | Mapping[str, Any] | StrPath, *, settings: Sequence[str] = (), report_only: bool = False
) -> StudyResult:
    """Train a grid of models and measure each on the same tasks. Finished models are not trained again.

    Several processes can work on one study. They share its models, and each ends when all are finished.

    Args:
        config: a YAML file, a dict of the same keys (docs/study.md explains them), or a `StudyConfig`.
        settings: `key=value` or `section.key=value`, each replaces a value of the configuration. Values are read as
            YAML.
        report_only: train nothing; report the results so far.

    Returns:
        the table, and the rows that failed. A failure does not stop the other rows.

    Raises:
        TasbError: the configuration, a task or a model is faulty. The error comes before any training.
        TrainingInterruptedError: a `KeyboardInterrupt`, by Ctrl-C, SIGTERM or SIGHUP, after the last step was saved.
            The same call continues.
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
    """The results of a study so far.

    Attributes:
        path: the study's folder.
        measured: the number of measured models.
        models: the number of all models.
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
        TasbError: the configuration, a task or a model is faulty. The error comes before any training.
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
        """True if a row is there or has failed, in the end; not so if another process is at it."""
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
        title: the title of only this row.
        name: the name of the table's line that it is part of, as in `Entry`.
        levels: the levels, see `Entry`.
        folder: where the row is or will be, and its runs.
        about: what it depends on.
        model: makes the model that is measured, and says how many seconds a pair of its training took, if any.
        packages: the packages whose code the study's own configuration names for it.
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
