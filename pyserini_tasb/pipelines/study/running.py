"""Doing what of a study is not done, beside other processes that do the same."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.model_digest import model_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_run
from pyserini_tasb.folder_lock import HeldError, locked_folder
from pyserini_tasb.pipelines.study import row as rows
from pyserini_tasb.pipelines.study.entry import Entry
from pyserini_tasb.pipelines.study.grid import grid
from pyserini_tasb.pipelines.study.ranking import runs_of
from pyserini_tasb.pipelines.study.report import write_report
from pyserini_tasb.pipelines.study.row import Row
from pyserini_tasb.pipelines.study.task import load_tasks
from pyserini_tasb.pipelines.study.training import ensure_trained, model_of, what_is_trained
from pyserini_tasb.score.pair_scorer import ScoringOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyserini_tasb.evaluate import Run
    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.grid import Cell

SECONDS_BETWEEN_LOOKS = 2


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
    """

    title: str
    name: str
    levels: tuple[str, ...] | None
    folder: Path
    about: dict[str, Any]
    model: Callable[[], tuple[str, float | None]]

    def row(self) -> Row | None:
        """What was measured, by whatever process; None if nothing was, or of something else."""
        return rows.saved(self.folder, self.about)


class StudyRun:
    """A study, in this process.

    Args:
        study: its configuration.
        to_go_on: the command for that, shown when training is interrupted.

    Raises:
        TasbError: a configuration, a task or a model that is none; nothing has been trained then.
    """

    def __init__(self, study: StudyConfig, to_go_on: str) -> None:
        self._study, self._to_go_on = study, to_go_on
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
            TrainingInterruptedError: by Ctrl-C or SIGTERM.
        """
        failed: dict[str, TasbError] = {}
        left, told = self._measurements, set[str]()
        while left:
            held = [measurement for measurement in left if not self._settled(measurement, failed)]
            for measurement in held:
                if measurement.title not in told:
                    told.add(measurement.title)
                    print(f"{measurement.title}: left to another process", flush=True)
            if held == left:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            left = held
        return failed

    def _settled(self, measurement: _Measurement, failed: dict[str, TasbError]) -> bool:
        """Whether a row is there or has failed, in the end; not so if another process is at it."""
        if measurement.row() is not None:
            print(f"{measurement.title}: done before", flush=True)
            return True
        try:
            with locked_folder(measurement.folder):
                if measurement.row() is None:  # another process may have ended just now
                    print(f"\n{measurement.title}", flush=True)
                    self._measure(measurement)
        except HeldError:
            return False
        except TasbError as error:
            failed[measurement.title] = error
            print(f"failed: {error}", file=sys.stderr, flush=True)
        else:
            self.report()  # a grid grows over days
        return True

    def _measure(self, measurement: _Measurement) -> None:
        model, seconds = measurement.model()
        runs = runs_of(model, self._tasks, self._options)
        row = self._valued(runs, measurement.about, seconds)
        rows.save(row, runs, measurement.folder, re.sub(r"[^\w.+-]+", "_", measurement.title))

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
            seconds = ensure_trained(cell, training, self._to_go_on)
            return model_of(cell), seconds

        name = "+".join(cell.levels)
        about = {"training": training, **self._measuring}
        return _Measurement(f"{name}, seed {cell.seed}", name, cell.levels, cell.folder, about, trained)

    def _valued(self, runs: dict[str, Run], about: dict[str, Any], seconds: float | None = None) -> Row:
        values = {task.name: task.values(runs[task.name]) for task in self._tasks if task.name in runs}
        return Row(values, about, seconds)
