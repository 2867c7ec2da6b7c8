"""Strict reading of files with one record a line, plain, gzip or Zstandard: every faulty line is named."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


FAULTS_SHOWN = 20
GZIP_MAGIC, ZSTANDARD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 17
ASCII_SPACE = " \t\n\r\f\v"
_ASCII_SPACES = re.compile(f"[{ASCII_SPACE}]+")


class LineFaults:
    """What is wrong with a file's lines, collected and then reported in one error.

    Args:
        path: the file.
        expected: what a right line holds.
    """

    def __init__(self, path: Path, *, expected: str) -> None:
        self.path, self.expected = path, expected
        self._shown: list[str] = []
        self._count = 0

    def add(self, number: int, found: str) -> None:
        """Note that line `number` (from 1) is faulty."""
        self._count += 1
        if len(self._shown) < FAULTS_SHOWN:
            self._shown.append(f"{self.path}:{number}: {found}")

    def finish(self, *, records: int) -> None:
        """Report what was added, once the whole file is read.

        Args:
            records: how many records the file had.

        Raises:
            TasbError: naming the first 20 faulty lines and counting the others; or there was no record at all.
        """
        if not self._count:
            if not records:
                raise self._error("an empty file", "check how it was written")
            return
        more = self._count - len(self._shown)
        lines = [*self._shown, f"… and {more} more"] if more else self._shown
        found = f"{self._count} faulty line{'s' if self._count > 1 else ''}:\n    " + "\n    ".join(lines)
        raise self._error(found, "fix or remove these lines")

    def _error(self, found: str, do: str) -> TasbError:
        return TasbError(where=str(self.path), expected=f"lines of {self.expected}", found=found, do=do)


@contextlib.contextmanager
def open_lines(path: Path, offset: int = 0) -> Iterator[io.TextIOWrapper]:
    r"""Open a file for reading by line; whether it is compressed is seen from its first bytes, not from its name.

    Lines end at \n only. Bytes that are not UTF-8 come out as lone surrogates, which `require_utf8` refuses: so the
    reader can name the line.

    Args:
        path: plain, gzip or Zstandard.
        offset: bytes before the first line to read, decompressed; a compressed file is read up to there.

    Raises:
        TasbError: the file cannot be opened, or its compressed data is damaged; or it is Zstandard, and the package
            `zstandard` is not installed.
    """
    try:
        with path.open("rb") as plain:
            binary = _decompressed(path, plain)
            _skip(binary, offset)
            encoding = "utf-8" if offset else "utf-8-sig"
            with io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline="\n") as lines:
                yield lines
    except (OSError, EOFError, zlib.error) as error:
        raise TasbError(
            where=str(path),
            expected="a readable file, plain, gzip or Zstandard",
            found=getattr(error, "strerror", None) or str(error),
            do="check the path, its permissions, and whether the download is complete",
        ) from error


def _decompressed(path: Path, plain: io.BufferedReader) -> BinaryIO:
    magic = plain.peek(len(ZSTANDARD_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return cast("BinaryIO", gzip.GzipFile(fileobj=plain))
    if magic.startswith(ZSTANDARD_MAGIC):
        return open_zstandard(path, plain)
    return plain


def _skip(binary: BinaryIO, offset: int) -> None:
    if binary.seekable():
        binary.seek(offset)
        return
    while offset and (read := len(binary.read(min(offset, 1 << 20)))):
        offset -= read


def read_columns(path: Path, add: Callable[[list[str]], None], *, expected: str) -> LineFaults:
    """Give the columns of each line that is not blank to `add`, whose ValueErrors become the line's fault.

    Args:
        path: plain, gzip or Zstandard.
        add: takes one line's columns.
        expected: of a line, for the message.

    Returns:
        The faults, still to be finished.
    """
    faults = LineFaults(path, expected=expected)
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                columns = split_columns(line)
                if columns:
                    add(columns)
            except ValueError as error:
                faults.add(number, str(error))
    return faults


def require_utf8(line: str) -> None:
    """Refuse a line of `open_lines` that holds bytes which are not UTF-8.

    Raises:
        ValueError: saying so.
    """
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise ValueError("not UTF-8") from error


def split_columns(line: str) -> list[str]:
    """The columns of a TREC line, split at ASCII white space as trec_eval does (and at the separators 0x1c to 0x1f).

    Raises:
        ValueError: the line is not UTF-8.
    """
    if line.isascii():
        return line.split()
    require_utf8(line)
    # str.split() would also split at a no-break space, which to trec_eval is part of a docid.
    stripped = line.strip(ASCII_SPACE)
    return _ASCII_SPACES.split(stripped) if stripped else []


def open_zstandard(path: Path, compressed: io.BufferedReader) -> io.BufferedReader:
    """What is in a Zstandard file of one frame or several.

    Args:
        path: for messages.
        compressed: the file.

    Raises:
        TasbError: the package `zstandard` is not installed.
    """
    try:
        import zstandard
    except ImportError as error:
        raise TasbError(
            where=str(path),
            expected="the package `zstandard`, which reads this file",
            found="it is not installed",
            do="pip install zstandard, or decompress the file",
        ) from error
    return io.BufferedReader(
        _Frames(compressed, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError), CHUNK
    )


class _Frames(io.RawIOBase):
    # The package's own stream ends without a word where a file is cut off.
    def __init__(self, compressed: io.BufferedReader, new_frame: Callable[[], Any], error: type[Exception]) -> None:
        self._compressed, self._new_frame, self._error = compressed, new_frame, error
        self._frame: Any = None
        self._left, self._ahead = memoryview(b""), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = self._ahead or self._compressed.read(CHUNK)
            self._ahead = b""
            if not chunk:
                if self._frame is not None:
                    raise EOFError("the file ends within its Zstandard data")
                return 0
            self._decompress(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _decompress(self, chunk: bytes) -> None:
        if self._frame is None:
            self._frame = self._new_frame()
        try:
            self._left = memoryview(self._frame.decompress(chunk))
        except self._error as error:
            raise OSError(str(error)) from error
        if self._frame.eof:
            self._ahead, self._frame = self._frame.unused_data, None
