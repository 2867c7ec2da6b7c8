"""Everything that watches a run: the log `metrics.jsonl`, TensorBoard, the line on the screen."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import LineFaults, open_lines
from pyserini_tasb.parsing import json_object
from pyserini_tasb.training.checkpoints import METRICS, TENSORBOARD
from pyserini_tasb.training.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyserini_tasb.training.config import RunConfig
    from pyserini_tasb.training.step import StepReport


class Journal:
    """The journal of one run, from `done` steps on; what an earlier process wrote of later steps is dropped.

    Args:
        config: where the run is, and how often it logs.
        done: steps that the checkpoint has.
    """

    def __init__(self, config: RunConfig, done: int) -> None:
        self._config = config
        path = config.output / METRICS
        truncate_to(path, done)
        self._closing = ExitStack()
        self._log = self._closing.enter_context(MetricsLog(path))
        self._progress = self._closing.enter_context(Progress(done=done, total=config.max_steps))
        self._tensorboard = TensorBoard(config.output / TENSORBOARD, done=done)
        self._closing.enter_context(closing(self._tensorboard))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def step(self, done: int, report: StepReport, seconds: float) -> None:
        """After each step; `seconds` since the run began, other sessions included."""
        config = self._config
        losses = {"loss": report.loss, "pairwise": report.pairwise, "in_batch": report.in_batch}
        self._progress.step(
            done,
            losses,
            pairs=config.pairs_per_step,
            tokens=report.tokens,
            tokens_with_padding=report.tokens_with_padding,
        )
        if done % config.log_every and done != config.max_steps:
            return
        values: dict[str, Any] = asdict(report) | {
            "pairs_per_second": self._progress.pairs_per_second,
            "seconds": round(seconds, 3),
        }
        self._log.append("step", done, values)
        self._tensorboard.append(done, values)

    def evaluated(self, done: int, measure: str, value: float, *, best: bool, seconds: float) -> None:
        """After each evaluation."""
        self._log.append("evaluation", done, {"measure": measure, "value": value, "best": best, "seconds": seconds})
        self._tensorboard.append(done, {measure: value})
        self._progress.evaluated(done, measure, value, best=best)

    def pause(self) -> AbstractContextManager[None]:
        """While something else than training goes on."""
        return self._progress.pause()

    def sync(self) -> None:
        """Before a checkpoint is written."""
        self._log.sync()


class SilentJournal(Journal):
    """The journal of a process that writes nothing."""

    def __init__(self) -> None:
        self._closing = ExitStack()

    def step(self, done: int, report: StepReport, seconds: float) -> None: ...

    def evaluated(self, done: int, measure: str, value: float, *, best: bool, seconds: float) -> None: ...

    def pause(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sync(self) -> None: ...


Kind = Literal["step", "evaluation"]
Record: TypeAlias = dict[str, Any]
"""`kind` (`step` or `evaluation`), `step`, and what was measured. A number that is not finite is null."""


_EXPECTED = "JSON objects with `kind` and `step`"


class MetricsLog:
    """Appends records, each in one unbuffered write: a killed process loses at most half of the last line.

    Records come in the order of their steps. Before saving a checkpoint of step k, append all records up to step k,
    then call `sync`: so that `truncate_to(path, k)` gives the log of a run that ended there.

    Args:
        path: the file; it is made if it is not there, and an unfinished last line is removed.
    """

    def __init__(self, path: Path) -> None:
        _remove_unfinished_line(path)
        self._file = path.open("ab", buffering=0)

    def append(self, kind: Kind, step: int, values: Mapping[str, Any]) -> None:
        """Write one record.

        Args:
            kind: what happened.
            step: the step after which it was recorded.
            values: numbers (NumPy's too), strings, None.

        Raises:
            OSError: the disk refuses, or has no room for the whole line.
        """
        record = {"kind": kind, "step": step} | {key: _json_value(value) for key, value in values.items()}
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)

    def sync(self) -> None:
        """Return once everything appended is on the disk, and not only with the operating system."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def truncate_to(path: Path, step: int) -> None:
    """Drop the records of steps after `step`, and what a killed process or a power cut left at the end.

    The file is cut at one place, which the file system does whole or not at all.

    Raises:
        TasbError: a line that is no record, with records to keep after it.
    """
    if not path.exists():
        return
    end = position = 0
    faulty = None
    with path.open("r+b") as file:
        for number, line in enumerate(file, 1):
            position += len(line)
            record = _parse_record(line) if line.endswith(b"\n") else None
            if record is None:
                faulty = faulty or number
            elif record["step"] > step:
                break
            elif faulty:
                raise TasbError(
                    where=f"{path}:{faulty}", expected=_EXPECTED, found="another line", do="fix or remove that line"
                )
            else:
                end = position
        file.truncate(end)
        os.fsync(file.fileno())


def read_metrics(path: Path) -> Iterator[Record]:
    """The records of a log, in its order; of a run that goes on, too.

    Raises:
        TasbError: the file cannot be read, or lines other than an unfinished last one are no records; all are named.
    """
    faults = LineFaults(path, expected=_EXPECTED)
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                break
            record = _parse_record(line)
            if record is None:
                faults.add(number, "not such an object")
            else:
                yield record
    faults.finish(records=1)  # a run that was stopped before its first record is no fault


def _parse_record(line: bytes | str) -> Record | None:
    try:
        record = json_object(line)
    except ValueError:
        return None
    return record if isinstance(record.get("step"), int) and isinstance(record.get("kind"), str) else None


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


BLOCK = 65_536


def _remove_unfinished_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = position = file.seek(0, os.SEEK_END)
        end = 0
        while position and not end:
            start = max(0, position - BLOCK)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else 0
            position = start
        if end < size:
            file.truncate(end)


class TensorBoard:
    """Writes events that `tensorboard --logdir FOLDER` shows; does nothing where the package `tensorboard` is not here.

    Args:
        folder: the folder of the event files.
        done: steps done before, when a run is resumed: events of later steps are hidden.
    """

    def __init__(self, folder: Path, *, done: int = 0) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def append(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write numbers by their names; those that are None or not finite are left out."""
        if self._writer is not None:
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
