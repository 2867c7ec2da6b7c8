"""A cell's training: begun, gone on with, or done."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encode.model_digest import model_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.command import train_student
from pyserini_tasb.train.report.metrics_log import read_metrics
from pyserini_tasb.train.run_folder import CHECKPOINTS, METRICS, MODEL
from pyserini_tasb.train.store import open_pair_store
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.pipelines.study.grid import Cell
    from pyserini_tasb.train.config import TrainConfig

STATE = "training.json"
OF_A_FOLDER = ("name", "description", "output", "workers", "log_every", "checkpoint", "device")
NO_PART_OF_A_MODEL: dict[str, Any] = {**dict.fromkeys(OF_A_FOLDER, True), "data": {"allow_reversed"}}
SETTLED = 0.2  # of a run's steps: by then caches are warm


class TrainingInterruptedError(Exception):
    """Somebody asked training to stop; its state is saved."""


def what_is_trained(config: TrainConfig) -> dict[str, Any]:
    """All that a cell's model depends on, but versions and hardware."""
    return {
        "config": config.model_dump(mode="json", exclude=NO_PART_OF_A_MODEL),
        "pairs": open_pair_store(config.data.pairs).fingerprint,
        "clusters": None if config.data.clusters is None else _file_digest(config.data.clusters),
        "student": _model_digest(config.student.model, allow_bin=config.student.allow_bin),
        "teacher": None
        if config.teacher.in_batch is None
        else _model_digest(config.teacher.in_batch, allow_bin=config.teacher.allow_bin),
    }


def ensure_trained(cell: Cell, about: dict[str, Any], to_go_on: str) -> float | None:
    """Train a cell's model to the end, unless it is; return the seconds of training that a pair took.

    A finished model's checkpoints are removed: together they would be as large as many models.

    Args:
        cell: to be trained.
        about: `what_is_trained`.
        to_go_on: the command for that, to be shown when training is interrupted.

    Raises:
        TrainingInterruptedError: by Ctrl-C or SIGTERM.
        TasbError: what is in the cell's folder was trained on something else, or training failed.
    """
    about = json.loads(json.dumps(about))
    state = _read(cell.folder / STATE)
    if state is None:
        state = {"about": about, "finished": False}
        write_whole(cell.folder / STATE, json.dumps(state, indent=1))
    elif state["about"] != about:
        changed = sorted(key for key in about if state["about"].get(key) != about[key])
        raise TasbError(
            where=str(cell.folder),
            expected="a cell that was trained on what the study now says",
            found=f"one with another {', '.join(changed)} ({STATE} has it)",
            do="change it back, remove that folder to train the cell anew, or choose another `output` for a new study",
        )
    if not state["finished"]:
        if train_student(cell.config, resume=True, to_go_on=to_go_on):
            raise TrainingInterruptedError
        state |= {"finished": True, "seconds_per_pair": _seconds_per_pair(cell.config.output / METRICS)}
        write_whole(cell.folder / STATE, json.dumps(state, indent=1))
    shutil.rmtree(cell.config.output / CHECKPOINTS, ignore_errors=True)
    seconds: float | None = state["seconds_per_pair"]
    return seconds


def model_of(cell: Cell) -> str:
    """The trained model, as `--model` takes it."""
    return str(cell.config.output / MODEL / f"{cell.config.name}.yaml")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return state


def _seconds_per_pair(metrics: Path) -> float | None:
    """The median over a run's steps without its first ones; None if no step says."""
    speeds = [record.get("pairs_per_second") for record in read_metrics(metrics) if record["kind"] == "step"]
    settled = [speed for speed in speeds[int(len(speeds) * SETTLED) :] if speed]
    return 1 / float(np.median(settled)) if settled else None


@functools.cache
def _model_digest(model: str, *, allow_bin: bool) -> str:
    return model_digest(model, allow_bin=allow_bin)


@functools.cache
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
