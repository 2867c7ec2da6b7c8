"""Run a command: everything it prints into a log, its latest line on the screen."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from threading import Event

LINE_ENDS = re.compile(rb"[\r\n]+")  # a progress bar overwrites itself: each \r begins its next state
SECONDS_TO_STOP = 10


def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    stdout: Path | None = None,
    on_screen: bool = True,
    stop: Event | None = None,
) -> int:
    """Run `command` in `folder` and return its exit status.

    Args:
        command: program and arguments.
        folder: working directory.
        environment: all its environment variables.
        log: gets standard error, and standard output unless `stdout` is given.
        stdout: gets standard output.
        on_screen: show how far it is.
        stop: ends the command once it is set; a thread other than the first never sees Ctrl-C.

    Raises:
        KeyboardInterrupt: `stop` was set.
    """
    with ExitStack() as stack:
        log_file = stack.enter_context(log.open("wb"))
        output: IO[bytes] | int = stack.enter_context(stdout.open("wb")) if stdout else subprocess.PIPE
        errors = subprocess.PIPE if stdout else subprocess.STDOUT
        child = stack.enter_context(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
            )
        )
        pipe = child.stderr if stdout else child.stdout
        assert pipe is not None  # noqa: S101 - for mypy: one of the two was asked for
        try:
            _follow(pipe, log_file, _Screen() if on_screen else None, stop)
            return child.wait()
        except BaseException:
            _stop(child)
            raise


def _follow(pipe: IO[bytes], log: IO[bytes], screen: _Screen | None, stop: Event | None) -> None:
    while True:
        if stop and stop.is_set():
            raise KeyboardInterrupt
        readable, _, _ = select.select([pipe], [], [], 1)
        data = os.read(pipe.fileno(), 65_536) if readable else None
        if data == b"":
            break
        if data:
            log.write(data)
            log.flush()
        if screen:
            screen.show(data or b"")
    if screen:
        screen.clear()


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        child.kill()


class _Screen:
    """The seconds so far and the latest line: in place on a terminal, elsewhere a line every half minute."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._every = 0.2 if self._terminal else 30
        self._start = self._shown = time.monotonic()
        self._text = b""

    def show(self, data: bytes) -> None:
        self._text = (self._text + data)[-1000:]
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        lines = [line for line in LINE_ENDS.split(self._text) if line.strip()]
        latest = lines[-1].decode(errors="replace").strip() if lines else ""
        line = printable(f"  {now - self._start:.0f} s  {latest}".rstrip())
        if self._terminal:
            print(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        else:
            print(line, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", flush=True)


def printable(text: str) -> str:
    """`text` without control characters, and with `?` for what standard output cannot encode."""
    encoding = sys.stdout.encoding or "ascii"
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text).encode(encoding, "replace").decode(encoding)
