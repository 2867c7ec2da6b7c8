"""`tasb study`: train a grid, measure each cell, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.model_digest import model_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_run
from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.interruption import INTERRUPTED
from pyserini_tasb.pipelines.study import row as rows
from pyserini_tasb.pipelines.study.config import StudyConfig
from pyserini_tasb.pipelines.study.entry import Entry
from pyserini_tasb.pipelines.study.grid import Cell, grid
from pyserini_tasb.pipelines.study.ranking import runs_of
from pyserini_tasb.pipelines.study.report import write_report
from pyserini_tasb.pipelines.study.row import Row
from pyserini_tasb.pipelines.study.task import load_tasks
from pyserini_tasb.pipelines.study.training import (
    TrainingInterruptedError,
    ensure_trained,
    model_of,
    what_is_trained,
)
from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.score.pair_scorer import ScoringOptions
from pyserini_tasb.train.command import same_command

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.evaluate import Run
    from pyserini_tasb.pipelines.study.config import OtherRow


def run(arguments: argparse.Namespace) -> int:
    """Do what of a study is not done; 1 where a cell failed, which does not stop the others.

    Raises:
        TasbError: a configuration, a task or a model that is none; nothing has been trained then.
    """
    config = load_recipe(Path(arguments.config), StudyConfig, arguments.set)
    with locked_folder(config.output):
        study = _Study(config, same_command("study", arguments))
        try:
            failed = study.run()
        except TrainingInterruptedError:
            return INTERRUPTED
    print((config.output / "table.md").read_text(encoding="utf-8"))
    for name, error in failed.items():
        print(f"tasb study: {name} failed\n{error}", file=sys.stderr)
    return 1 if failed else 0


class _Study:
    def __init__(self, config: StudyConfig, to_go_on: str) -> None:
        self._config, self._to_go_on = config, to_go_on
        self._cells = grid(config)
        self._tasks = load_tasks(config.tasks)
        self._options = ScoringOptions(config.device, config.precision)
        self._measuring = {
            "tasks": {task.name: task.digest for task in self._tasks},
            "precision": config.precision,
        }
        # What can be wrong is found out before anything is trained.
        self._about = {cell: what_is_trained(cell.config) for cell in self._cells}
        self._digests = {
            name: model_digest(other.model) for name, other in config.rows.items() if other.model is not None
        }
        self._runs = {
            name: {task: load_run(path) for task, path in other.runs.items()} for name, other in config.rows.items()
        }

    def run(self) -> dict[str, TasbError]:
        """The cells that failed."""
        entries = {name: Entry(name, None, [self._other(name, row)]) for name, row in self._config.rows.items()}
        failed = {}
        for number, cell in enumerate(self._cells, 1):
            name = "+".join(cell.levels)
            print(f"\n[{number}/{len(self._cells)}] {name}, seed {cell.seed}", flush=True)
            try:
                row = self._cell(cell)
            except TasbError as error:
                failed[f"{name}, seed {cell.seed}"] = error
                print(f"failed: {error}", file=sys.stderr, flush=True)
                continue
            entries.setdefault(name, Entry(name, cell.levels, [])).rows.append(row)
            write_report(self._config, list(entries.values()))  # a grid grows over days
        write_report(self._config, list(entries.values()))
        return failed

    def _other(self, name: str, other: OtherRow) -> Row:
        folder = self._config.output / "rows" / name
        if other.model is None:
            return self._measured(self._runs[name], {})
        about = {"model": self._digests[name], **self._measuring}
        return rows.saved(folder, about) or self._ranked(other.model, about, folder, name, None)

    def _cell(self, cell: Cell) -> Row:
        about = {"training": self._about[cell], **self._measuring}
        row = rows.saved(cell.folder, about)
        if row is not None:
            print("done before", flush=True)
            return row
        seconds = ensure_trained(cell, self._about[cell], self._to_go_on)
        return self._ranked(model_of(cell), about, cell.folder, cell.config.name, seconds)

    def _ranked(self, model: str, about: dict[str, Any], folder: Path, tag: str, seconds: float | None) -> Row:
        runs = runs_of(model, self._tasks, self._options)
        row = self._measured(runs, about, seconds)
        rows.save(row, runs, folder, "_".join(tag.split()))
        return row

    def _measured(self, runs: dict[str, Run], about: dict[str, Any], seconds: float | None = None) -> Row:
        return Row(
            {task.name: task.values(runs[task.name]) for task in self._tasks if task.name in runs}, about, seconds
        )
