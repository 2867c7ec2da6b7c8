"""Commands that end with this process: long ones with a log and their latest line on the screen, and short ones.

A function of ours that runs beside this process is a `Child`, in `workers.py`.
"""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import Event

LOG = logging.getLogger(__name__)

LINE_ENDS = re.compile(rb"[\r\n]+")  # a progress bar overwrites itself: each \r begins its next state
SUPERVISOR = (sys.executable, "-S", "-P", str(Path(__file__).with_name("supervisor.py")))


def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    stdout: Path | None = None,
    on_screen: bool = True,
    stop: Event | None = None,
    locks: Sequence[int] = (),
) -> int:
    """Run `command` in `folder`: everything it prints goes into a log, its latest line on the screen.

    However the call ends, and if this process is killed, the command ends too, with all that it has started: SIGTERM
    first, SIGKILL after ten seconds. A process that it leaves behind is ended as well. `supervisor.py` makes sure of
    that.

    Args:
        command: program and arguments.
        folder: working directory.
        environment: all its environment variables.
        log: gets standard error, and standard output unless `stdout` is given.
        stdout: gets standard output.
        on_screen: show its progress.
        stop: ends the command once it is set; a thread other than the first never sees Ctrl-C.
        locks: the locks of `locked_folder`, held until the command has ended, even if this process is killed.

    Returns:
        The command's exit status; minus the signal that ended it.

    Raises:
        KeyboardInterrupt: `stop` was set.
    """
    with ExitStack() as stack:
        log_file = stack.enter_context(log.open("wb"))
        output: IO[bytes] | int = stack.enter_context(stdout.open("wb")) if stdout else subprocess.PIPE
        errors = subprocess.PIPE if stdout else subprocess.STDOUT
        lifeline, theirs = map(stack.enter_context, socket.socketpair())
        # Not as a context, which would wait for it while the lifeline is still open.
        supervisor = subprocess.Popen(
            [*SUPERVISOR, str(theirs.fileno()), ",".join(map(str, locks)), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=(theirs.fileno(), *locks),
            start_new_session=True,  # out of reach of a terminal's Ctrl-C, which this process answers
        )
        theirs.close()
        pipe = supervisor.stderr if stdout else supervisor.stdout
        assert pipe is not None  # noqa: S101 - for mypy: one of the two was asked for
        stack.enter_context(pipe)
        try:
            _follow(pipe, log_file, _LatestLine() if on_screen else None, stop)
        except BaseException:
            lifeline.close()  # which ends the command
            _follow(pipe, log_file)  # what it says at its end
            supervisor.wait()
            raise
        told, own = lifeline.recv(16), supervisor.wait()
        return int(told or own)  # its own, if somebody has killed it


def run_short_command(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command, which ends with this process; what it printed, and its status as a shell says it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`, and was ended.
    """
    lifeline, theirs = socket.socketpair()
    with lifeline, theirs:
        return subprocess.run(
            [*SUPERVISOR, str(theirs.fileno()), "", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )


def _follow(pipe: IO[bytes], log: IO[bytes], screen: _LatestLine | None = None, stop: Event | None = None) -> None:
    try:
        while True:
            if stop and stop.is_set():
                raise KeyboardInterrupt
            readable, _, _ = select.select([pipe], [], [], 1)
            data = os.read(pipe.fileno(), 65_536) if readable else None
            if data == b"":
                return
            if data:
                log.write(data)
                log.flush()
            if screen:
                screen.show(data or b"")
    finally:
        if screen:
            screen.clear()


class _LatestLine:
    """The seconds so far and the latest line: in place on a terminal, elsewhere a note every half minute."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        # Only a terminal can overwrite a line.
        self._bar = tqdm(bar_format="  {elapsed}  {desc}", dynamic_ncols=True, leave=False, disable=hidden(None))
        self._every = 30 if self._bar.disable else 0.2
        self._start = self._shown = time.monotonic()
        self._text = b""

    def show(self, data: bytes) -> None:
        self._text = (self._text + data)[-1000:]
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        lines = [line for line in LINE_ENDS.split(self._text) if line.strip()]
        latest = without_controls(lines[-1].decode(errors="replace").strip()) if lines else ""
        if self._bar.disable:
            LOG.info("%.0f s  %s", now - self._start, latest)
        else:
            self._bar.set_description_str(latest)

    def clear(self) -> None:
        self._bar.close()


def without_controls(text: str) -> str:
    """The text that a program printed, without what moves the cursor or colours letters: that is no news."""
    return printable(_CONTROLS.sub("", text))


_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
