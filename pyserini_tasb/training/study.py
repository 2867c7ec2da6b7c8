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
from pyserini_tasb.ray_cluster.actors import Setting, answer_of
from pyserini_tasb.ray_cluster.joining import connected
from pyserini_tasb.ray_cluster.nodes import OnRay, require_alike
from pyserini_tasb.recipes.loading import as_recipe
from pyserini_tasb.registry import trusting
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.results import FileResult
from pyserini_tasb.training.study_cells import (
    Row,
    ensure_trained,
    finished_row,
    is_trained_here,
    load_tasks,
    rank_tasks,
    save_row,
    saved_row,
    trained_model,
    what_is_trained,
    write_row,
)
from pyserini_tasb.training.study_config import StudyConfig, grid
from pyserini_tasb.training.study_report import PICTURE, TABLE, Entry, write_report
from pyserini_tasb.workers import LogOfOthers, StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.results import StrPath
    from pyserini_tasb.training.study_config import Cell


LOG = logging.getLogger(__name__)


def study(
    config: StudyConfig | Mapping[str, Any] | StrPath,
    *,
    settings: Sequence[str] = (),
    report_only: bool = False,
    ray: str | None = None,
    ray_cpus: int | None = None,
    ray_gpus: float | None = None,
) -> StudyResult:
    """Train a grid of models and measure each on the same tasks. Finished models are not trained again.

    Several processes can work on one study. They share its models, and each ends when all are finished.

    Args:
        config: a YAML file, a dict of the same keys (docs/study.md explains them), or a `StudyConfig`.
        settings: `key=value` or `section.key=value`, each replaces a value of the configuration. Values are read as
            YAML.
        report_only: train nothing; report the results so far.
        ray: train several models at a time on a Ray cluster: `auto`, or `HOST:PORT`; `local` starts Ray on this
            machine. See docs/ray.md.
        ray_cpus: CPUs of each model that is trained, and its threads; by default OMP_NUM_THREADS, or one model at a
            time on each node, with its CPUs.
        ray_gpus: GPUs of each, or a fraction of one; by default 1 if the cluster has GPUs and `device` is not `cpu`,
            else 0.

    Returns:
        the table, and the rows that failed. A failure does not stop the other rows.

    Raises:
        TasbError: the configuration, a task or a model is faulty; Ray is not installed, does not answer, or has no
            room, or its nodes differ or do not share the folder. The error comes before any training.
        TrainingInterruptedError: a `KeyboardInterrupt`, by Ctrl-C, SIGTERM or SIGHUP, after the last step was saved.
            The same call continues.
    """
    wanted = as_recipe(config, StudyConfig, settings)
    require_folder(wanted.output, name="`output`", ours=("cells", "rows", TABLE))
    on_ray = OnRay.asked(ray, ray_cpus, ray_gpus)
    run = StudyRun(wanted)
    if report_only:
        failed = {}
    elif on_ray:
        with connected(on_ray.address):
            failed = _run_on_ray(run, on_ray)
    else:
        failed = run.run()
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
        for each in self._measurements:
            each.row()  # refuses finished rows of something else

    @property
    def config(self) -> StudyConfig:
        """Its configuration."""
        return self._study

    def unfinished(self) -> list[str]:
        """The titles of the rows that are not measured yet, in order."""
        return [each.title for each in self._measurements if each.row() is None]

    def run(self, only: str | None = None) -> dict[str, TasbError]:
        """Do what is not done, in order, leaving to other processes what they are at; end when all is done.

        Args:
            only: the title of the only row to do.

        Returns:
            Title → why, of the rows that failed here. A row that failed stops no other.

        Raises:
            TrainingInterruptedError: by Ctrl-C, SIGTERM or SIGHUP.
        """
        failed: dict[str, TasbError] = {}
        left = [each for each in self._measurements if only is None or each.title == only]
        told = set[str]()
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
            LOG.info("%s: done before%s", measurement.title, ", elsewhere" if measurement.elsewhere else "")
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
        if measurement.finished is not None:
            write_row(row, measurement.finished)

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
            entry = entries.setdefault(each.name, Entry(each.name, each.levels, []))
            entry.rows.append(saved)
            entry.elsewhere += each.elsewhere
        write_report(self._study, [entry for entry in entries.values() if entry.rows])
        return len(found), len(self._measurements)

    def _other(self, name: str, model: str) -> _Measurement:
        about = {"model": model_digest(model), **self._measuring}
        folder = self._study.output / "rows" / name
        return _Measurement(name, name, None, folder, self._finished(folder), about, lambda: (model, None))

    def _cell(self, cell: Cell) -> _Measurement:
        training = what_is_trained(cell.config)

        def trained() -> tuple[str, float | None]:
            seconds = ensure_trained(cell, training)
            return trained_model(cell), seconds

        name = "+".join(cell.levels)
        about = {"training": training, **self._measuring}
        pooling = cell.config.student.pooling
        packages = (pooling.partition(":")[0].partition(".")[0],) if ":" in pooling else ()
        title, finished = f"{name}, seed {cell.seed}", self._finished(cell.folder)
        return _Measurement(title, name, cell.levels, cell.folder, finished, about, trained, packages)

    def _finished(self, folder: Path) -> Path | None:
        """Where a copy of a folder's row is kept."""
        kept = self._study.finished
        return None if kept is None else kept / folder.relative_to(self._study.output)

    def _valued(self, runs: dict[str, RunDict], about: dict[str, Any], seconds: float | None = None) -> Row:
        values = {task.name: task.values(runs[task.name]) for task in self._tasks if task.name in runs}
        return Row(values, about, seconds)


MOST_RETRIES = 2
SECONDS_TO_SAVE = 60.0


def _run_on_ray(run: StudyRun, on_ray: OnRay) -> dict[str, TasbError]:
    """Do what `StudyRun.run` does, each row in a task of the Ray cluster that this process is connected to.

    A row whose node is lost goes on elsewhere, after the last step that was saved.

    Raises:
        TasbError: the cluster has no room, or its nodes differ from this machine or do not share the folder.
        Interruption: by Ctrl-C, SIGTERM or SIGHUP, once the tasks have saved their last step.
    """
    import ray

    config = run.config
    needs, places = on_ray.sized(may_use_gpus=config.device is None or config.device.startswith("cuda"))
    require_alike(needs, [config.output])
    titles, failed, log = run.unfinished(), dict[str, TasbError](), LogOfOthers()
    LOG.info("Ray: %s models, up to %s at a time, with %s each", len(titles), places, needs)
    # A process of its own for each: what one model leaves in it is not the next one's.
    remote = ray.remote(max_calls=1, max_retries=MOST_RETRIES)(_measured).options(**needs.options)
    with StopRequest() as stop:
        setting = Setting.here(needs.cpus)
        tasks = {remote.remote(setting, config, title): title for title in titles}
        try:
            while tasks and not stop.made:
                for task in ray.wait(list(tasks), timeout=SECONDS_BETWEEN_LOOKS)[0]:
                    title = tasks.pop(task)
                    try:
                        error, records = answer_of(task, title)
                    except ray.exceptions.RayError as lost:
                        error, records = _lost(title, lost), []
                    for record in records:
                        log.show(record)
                    if error:
                        failed[title] = error
        finally:
            for task in tasks:
                ray.cancel(task)  # as Ctrl-C does: the last step is saved
            ray.wait(list(tasks), num_returns=len(tasks), timeout=SECONDS_TO_SAVE) if tasks else None
    if stop.made:
        raise stop.interruption()
    return failed


def _measured(setting: Setting, config: StudyConfig, title: str) -> tuple[TasbError | None, list[logging.LogRecord]]:
    """Train and measure one model in a process of its own; return why it failed, if so, and what was logged."""
    records: list[logging.LogRecord] = []
    setting.take_over(records.append)
    failed = StudyRun(config).run(only=title)
    return failed.get(title), records


def _lost(title: str, why: Exception) -> TasbError:
    return TasbError(
        where=title,
        expected=f"the nodes of the Ray cluster to live, at most {MOST_RETRIES} losses for a model",
        found=str(why).strip().partition("\n")[0],
        do="read Ray's logs on that node; the same command continues after the last saved step",
    )


@dataclass(frozen=True)
class _Measurement:
    """A model's row: in its folder, or to be done.

    Args:
        title: the title of only this row.
        name: the name of the table's line that it is part of, as in `Entry`.
        levels: the levels, see `Entry`.
        folder: where the row is or will be, and its runs.
        finished: where a copy of it is kept, for other machines; None without any.
        about: what it depends on.
        model: makes the model that is measured, and says how many seconds a pair of its training took, if any.
        packages: the packages whose code the study's own configuration names for it.
    """

    title: str
    name: str
    levels: tuple[str, ...] | None
    folder: Path
    finished: Path | None
    about: dict[str, Any]
    model: Callable[[], tuple[str, float | None]]
    packages: tuple[str, ...] = ()

    def row(self) -> Row | None:
        """The measured row, by whatever process or machine; None if nothing was measured, or of something else.

        Raises:
            TasbError: another machine's row is of something else.
        """
        here = saved_row(self.folder, self.about)
        if here or self.finished is None or is_trained_here(self.folder):
            return here
        return finished_row(self.finished, self.about)

    @property
    def elsewhere(self) -> bool:
        """True if the row is only in the folder of finished rows."""
        return saved_row(self.folder, self.about) is None and self.row() is not None
