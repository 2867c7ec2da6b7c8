"""A pipeline of commands that continues where it stopped: finished steps do not run again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyserini_tasb
from pyserini_tasb.artifacts import file_state, installed_versions, locked_folder, read_sidecar, write_whole
from pyserini_tasb.commands import run_command, without_controls
from pyserini_tasb.errors import FailedError, argument, os_errors_explained
from pyserini_tasb.outputs import require_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from threading import Event


LOG = logging.getLogger(__name__)

STAMPS = ".tasb-steps"
LOGS = "logs"
LOG_LINES_SHOWN = 20
# Of other versions of these, a step's outputs may be different.
PACKAGES = ("pyserini", "torch", "transformers", "faiss-cpu", "faiss-gpu")


@dataclass(frozen=True)
class Step:
    """One command of a pipeline; all paths are relative to the pipeline's folder, where the command runs.

    Args:
        name: unique in the pipeline, fit for a file name.
        summary: what it does, for the reader of the screen.
        arguments: what follows `python`, e.g. `("-m", "pyserini.search.lucene", …)`.
        inputs: files and folders it reads; when they change, it runs again.
        outputs: files and folders it makes; they are removed before it runs.
        stdout: one more output: gets the command's standard output, which else goes to the log.
        shown: whether new output is shown on the screen at once.
        like: an earlier step, and how many times as long as that one this takes: for an estimate beforehand.
        continues: its command goes on with the outputs that an interruption left. They are removed only if the command
            or its inputs are not the same any more.
    """

    name: str
    summary: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    stdout: str | None = None
    shown: bool = False
    like: tuple[str, float] | None = None
    continues: bool = False

    @property
    def command(self) -> str:
        """The command as one would type it."""
        redirection = f" > {shlex.quote(self.stdout)}" if self.stdout else ""
        return shlex.join(("python", *self.arguments)) + redirection

    @property
    def products(self) -> tuple[str, ...]:
        """All that it makes."""
        return (*self.outputs, self.stdout) if self.stdout else self.outputs


class StepFailedError(FailedError):
    """A step's command failed; the text has the end of its log."""


class Pipeline:
    """A folder in which steps run, each at most once.

    Args:
        folder: new, empty, or of an earlier run.
        environment: variables for the commands, over this process's own.
        versions: the packages on which the outputs depend; by default PACKAGES.

    Raises:
        TasbError: the folder has other things in it, or cannot be made.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], versions: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = {**os.environ, **environment, **_import_nothing_from_the_folder()}
        self._versions = dict(versions) if versions is not None else installed_versions(PACKAGES)
        self._locks: tuple[int, ...] = ()
        _claim(folder)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder in the block, and after it until the last command there has ended.

        Raises:
            TasbError: another process is at work in it.
        """
        with locked_folder(self.folder) as lock:
            self._locks = (lock,)
            try:
                yield
            finally:
                self._locks = ()

    def run(self, steps: Sequence[Step]) -> dict[str, float]:
        """Run what has not finished yet; return the wall seconds that each step takes, or took when it ran.

        Raises:
            StepFailedError: a command failed, or did not make what it should.
            TasbError: another process is at work in the folder.
        """
        seconds: dict[str, float] = {}
        with self.alone():
            for number, step in enumerate(steps, 1):
                about = _estimate(step, seconds)
                LOG.info("[%d/%d] %s%s\n$ %s", number, len(steps), step.summary, about, step.command)
                took = self.finished(step)
                if took is None:
                    took = self.execute(step)
                    LOG.info("done in %.1f s", took)
                    if step.shown and step.stdout:
                        LOG.info("%s\n\n%s", step.stdout, (self.folder / step.stdout).read_text(encoding="utf-8"))
                else:
                    LOG.info("done before, in %.1f s", took)
                seconds[step.name] = took
        return seconds

    def log_path(self, step: Step) -> Path:
        """The file that gets what a step's command prints."""
        return self.folder / LOGS / f"{step.name}.log"

    def execute(self, step: Step, *, on_screen: bool = True, stop: Event | None = None) -> float:
        """Run a step, finished or not, in the block of `alone`; return its wall seconds.

        `on_screen` and `stop` are as in `run_command`.

        Raises:
            StepFailedError: the command failed, or did not make what it should.
        """
        stamp_file = self.folder / STAMPS / f"{step.name}.json"
        stamp_file.unlink(missing_ok=True)
        begun = self.folder / STAMPS / f"{step.name}.begun.json"
        begins = {"command": step.command, "files": self._states(step.inputs)} if step.continues else {}
        goes_on = step.continues and read_sidecar(begun) == begins
        for product in step.products:
            path = self.folder / product
            if not goes_on:
                _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        if step.continues:
            write_whole(begun, json.dumps(begins, indent=1))
        log = self.log_path(step)
        start = time.monotonic()
        status = run_command(
            [sys.executable, *step.arguments],
            folder=self.folder,
            environment=self._environment,
            log=log,
            stdout=self.folder / step.stdout if step.stdout else None,
            on_screen=on_screen,
            stop=stop,
            locks=self._locks,
        )
        seconds = time.monotonic() - start
        absent = [product for product in step.products if not (self.folder / product).exists()]
        if status or absent:
            reason = f"exited with status {status}" if status else f"did not make {', '.join(absent)}"
            raise StepFailedError(f"step {step.name} {reason}; the end of {log}:\n{_last_lines(log)}")
        stamp = {**self._conditions(step), "seconds": seconds}
        write_whole(stamp_file, json.dumps(stamp, indent=1))
        begun.unlink(missing_ok=True)
        return seconds

    def finished(self, step: Step) -> float | None:
        """The seconds that the step took; None if it did not finish, or something it depends on is different now."""
        try:
            stamp: dict[str, Any] = json.loads((self.folder / STAMPS / f"{step.name}.json").read_bytes())
            now = self._conditions(step)
        except (OSError, ValueError):
            return None
        return float(stamp["seconds"]) if {**stamp, **now} == stamp else None

    def _conditions(self, step: Step) -> dict[str, Any]:
        return {
            "command": step.command,
            "versions": self._versions,
            "code": own_code(),
            "files": self._states((*step.inputs, *step.products)),
        }

    def _states(self, paths: Sequence[str]) -> dict[str, str]:
        return {path: file_state(self.folder / path) for path in paths}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


SHORT = 10  # seconds that nobody need be told of beforehand


def _estimate(step: Step, seconds: Mapping[str, float]) -> str:
    """How long the step will take, by how long another took on this machine; empty where that is short or not known."""
    other, times = step.like or ("", 0.0)
    about = seconds.get(other, 0.0) * times
    return "" if about < SHORT else f"; about {about:.0f} s" if about < 90 else f"; about {about / 60:.1f} minutes"


@functools.cache
def own_code() -> str:
    """A digest of this package's modules: versions do not tell what somebody changes in a clone."""
    digest = hashlib.sha256()
    for path in sorted(Path(pyserini_tasb.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _import_nothing_from_the_folder() -> dict[str, str]:
    """Environment variables without which `python -m` would import `numpy` from its working directory first."""
    places = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in places)}


def _claim(folder: Path) -> None:
    require_folder(folder, ours=(STAMPS,))
    with os_errors_explained(
        folder, expected="a folder to write to", do=f"choose another folder with {argument('output')}"
    ):
        (folder / STAMPS).mkdir(parents=True, exist_ok=True)
        (folder / LOGS).mkdir(exist_ok=True)


def _last_lines(log: Path) -> str:
    lines = log.read_bytes().decode(errors="replace").replace("\r\n", "\n").split("\n")
    last_states = [line.rpartition("\r")[2] for line in lines]  # a progress bar overwrites itself
    shown = [without_controls(line) for line in last_states if line.strip()][-LOG_LINES_SHOWN:]
    return "\n".join(f"  {line}" for line in shown)
