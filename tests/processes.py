"""Python modules as processes of their own or in this one, and what is left of a process and of all that it started."""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.plugin.startup import register_encoders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def run_module(*arguments: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE …` in a process of its own."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def end_at_once(_: object) -> None:
    """The work of a process that dies."""
    os._exit(9)


def run_stock(module: str, *arguments: object) -> None:
    """`python -m MODULE …` of Pyserini in this process: one of its own would start Java and torch each time."""
    register_encoders()
    log = logging.getLogger("pyserini_tasb")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"handlers": [], "propagate": log.propagate, "level": log.level}.items():
            patch.setattr(log, name, value)  # which the command changes for the rest of its process
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(sys, "argv", [module, *map(str, arguments)])
        runpy.run_module(f"{module}.__main__", run_name="__main__")


MARK = "PYSERINI_TASB_TEST_MARK"


class MarkedProcess:
    """A process whose descendants are known by a variable of their environment, wherever they have gone.

    Args:
        command: program and arguments.
        ignored: signals that it begins with ignored; others act as in a terminal, however the tests were started.
    """

    def __init__(self, command: Sequence[str], ignored: Sequence[int] = ()) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}"

        def dispositions() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

        self.popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=dict(os.environ) | dict([self._mark.split("=", 1)]), preexec_fn=dispositions,  # noqa: PLW1509
        )  # fmt: skip

    def living(self) -> list[int]:
        """The process, unless it has ended, and all that it started."""
        mark, found = self._mark.encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # of others, or ended just now; one that has ended shows nothing
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def orphans(self, seconds: float = 15) -> list[int]:
        """What is left after so many seconds at most; it is killed then."""
        end = time.monotonic() + seconds
        while (left := self.living()) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def wait_until(self, happened: Callable[[], object], seconds: float = 120) -> None:
        """Wait for something that the process does."""
        end = time.monotonic() + seconds
        while not happened():
            if self.popen.poll() is not None or time.monotonic() > end:
                pytest.fail(f"did not happen: {self.popen.args}\n{self.popen.communicate()}")
            time.sleep(0.01)


@contextlib.contextmanager
def marked(command: Sequence[str], ignored: Sequence[int] = ()) -> Iterator[MarkedProcess]:
    """Start a `MarkedProcess`; of it and of what it started, nothing outlives the block."""
    process = MarkedProcess(command, ignored)
    try:
        yield process
    finally:
        process.orphans(0)
        process.popen.communicate()
