"""The standard streams of a command: one that is closed, full or broken ends it cleanly.

Python itself raises wherever something prints, complains again at exit, and ends with a status of its own, or with 0.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from pyserini_tasb.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR = 0, 1, 2


class UnwritableError(Exception):
    """Standard output cannot be written to. Not an OSError: that would seem to be about one of the verb's files."""


class StandardStream(io.RawIOBase):
    """A standard stream that remembers why it could not be written to, and then takes whatever it gets.

    Args:
        descriptor: the stream's number.
        closed: the process got no such stream, and the number leads nowhere.
        required: raise the first failure, too: who prints need not go on.
    """

    def __init__(self, descriptor: int, *, closed: bool, required: bool) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self._descriptor, self._closed, self._required = descriptor, closed, required

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        size = len(data)
        try:
            if self._closed and not self.failure:
                raise OSError(errno.EBADF, "it is closed")  # noqa: TRY301
            while data and not self.failure:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self.failure = error
            if self._required:
                raise UnwritableError from error
        return size


@contextlib.contextmanager
def standard_streams() -> Iterator[StandardStream]:
    """Let this process print to a `StandardStream` each; the block gets that of standard output.

    Streams that somebody has replaced, such as a test, stay as they are.
    """
    closed = _open_what_is_closed()
    before = sys.stdout, sys.stderr
    output = StandardStream(STDOUT, closed=STDOUT in closed, required=True)
    errors = StandardStream(STDERR, closed=STDERR in closed, required=False)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(output, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(errors, sys.stderr)
    try:
        yield output
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_what_is_closed() -> list[int]:
    """Which of the three are closed; from now on they lead nowhere.

    Else a file opened later would get such a number, and what a library prints would be written into it.
    """
    closed = []
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            closed.append(number)
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, which is this one
    if STDIN in closed:
        sys.stdin = open(STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - for all of the process's life
    return closed


def _text(output: StandardStream, like: Any) -> TextIO:
    # Letters that the encoding lacks are written as escapes; Python's own standard output would raise.
    if like is None:  # it was closed
        return io.TextIOWrapper(io.BufferedWriter(output), encoding="utf-8", errors="backslashreplace")
    kind = _Terminal if output.isatty() and like is sys.__stdout__ else io.TextIOWrapper
    return kind(
        cast("BinaryIO", output) if like.write_through else io.BufferedWriter(output),  # unbuffered with `python -u`
        encoding=like.encoding,
        errors="backslashreplace",
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )


@contextlib.contextmanager
def above_bars() -> Iterator[None]:
    """A line printed to stderr inside gets one of its own, also where a progress bar stands: the bar moves down."""
    tqdm = sys.modules.get("tqdm")  # not loaded, it has drawn no bar
    with tqdm.tqdm.external_write_mode(file=sys.stderr) if tqdm else contextlib.nullcontext():
        yield


class _Terminal(io.TextIOWrapper):
    """Standard output on a terminal: ids and names of files cannot move its cursor. A pipe gets their bytes."""

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)
