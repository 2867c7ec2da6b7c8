"""Strict reading of files with one record a line, plain or compressed: every faulty line is named."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import logging
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


LOG = logging.getLogger(__name__)
FAULTS_SHOWN = 20
FIX_LINES = "fix or remove these lines"
# What a file may be that has so many columns, where another was expected.
FILES_BY_COLUMNS = {4: " (qrels?)", 6: " (a run?)"}
CHUNK = 1 << 17
LONGEST_LINE = 1 << 12  # characters of a line of columns; the longest docids are URLs
ASCII_SPACE = " \t\n\r\f\v"
_ASCII_SPACES = re.compile(f"[{ASCII_SPACE}]+")


class LineFaults:
    """Faults in a file's lines, collected and then reported in one error.

    Args:
        path: the file.
        expected: what a right line holds.
        advice: what to do about faulty lines.
    """

    def __init__(self, path: Path, *, expected: str, advice: str = FIX_LINES) -> None:
        self.path, self.expected, self._advice = path, expected, advice
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
                but = ", apart from blank lines or a header" if self.path.stat().st_size else ""
                raise self._error(f"an empty file{but}", "check how it was written")
            return
        more = self._count - len(self._shown)
        lines = [*self._shown, f"… and {more} more"] if more else self._shown
        found = f"{self._count} faulty line{'s' if self._count > 1 else ''}:\n    " + "\n    ".join(lines)
        if not records and self._count > 1:
            raise self._error(found, "check that it is the right file: none of its lines is as expected")
        raise self._error(found, self._advice)

    def _error(self, found: str, do: str) -> TasbError:
        return TasbError(where=str(self.path), expected=f"lines of {self.expected}", found=found, do=do)


@contextlib.contextmanager
def open_lines(path: Path, offset: int = 0) -> Iterator[io.TextIOWrapper]:
    r"""Open a file for reading by line; whether it is compressed is seen from its first bytes, not from its name.

    Lines end at \n only. Bytes that are not UTF-8 come out as lone surrogates, which `require_utf8` refuses: so the
    reader can name the line.

    Args:
        path: plain, gzip, bzip2, xz or Zstandard.
        offset: bytes before the first line to read, decompressed; a compressed file is read up to there.

    Raises:
        TasbError: the file cannot be opened, or its compressed data is damaged; it is an archive or of another kind
            that has no lines; or a module that decompresses it is not installed.
    """
    try:
        with path.open("rb") as plain, _xz_errors_as_others():
            binary = _decompressed(path, plain)
            _skip(binary, offset)
            encoding = "utf-8" if offset else "utf-8-sig"
            with io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline="\n") as lines:
                yield lines
    except (OSError, EOFError, zlib.error) as error:
        raise TasbError(
            where=str(path),
            expected="a readable file, plain, gzip, bzip2, xz or Zstandard",
            found=getattr(error, "strerror", None) or str(error),
            do="check the path, its permissions, and whether the download is complete",
        ) from error


# What a file's first bytes say of it.
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
# Kinds that have no lines of their own, and how to get at them.
OTHERS = {
    b"PK\x03\x04": ("a zip archive", "unpack it (unzip {}), and give a file or folder that was in it"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it (7z x {}), and give a file or folder that was in it"),
    b"PAR1": ("a Parquet file", "write its rows as JSONL, for instance with pandas' read_parquet and to_json"),
    b"\xff\xfe": ("text in UTF-16", "write it as UTF-8 (iconv -f UTF-16 -t UTF-8 {})"),
    b"\xfe\xff": ("text in UTF-16", "write it as UTF-8 (iconv -f UTF-16 -t UTF-8 {})"),
}
_MAGIC_BYTES = max(map(len, (*COMPRESSED, *OTHERS)))
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


def compression(path: Path) -> str | None:
    """The name of a file's compression, seen from its first bytes; None for a plain file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as plain:
        return _compression(plain.read(_MAGIC_BYTES))


def without_compression(name: str) -> str:
    """A file's name without the ending of a compressed file."""
    for ending in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(ending)
    return name


def visible_files(folder: Path) -> list[Path]:
    """All files in a folder and its folders, in the order of their names, without those that are hidden.

    Editors and notebooks leave copies in hidden folders, such as `.ipynb_checkpoints`.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _compression(first: bytes) -> str | None:
    return next((kind for magic, kind in COMPRESSED.items() if first.startswith(magic)), None)


@contextlib.contextmanager
def _xz_errors_as_others() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "LZMAError":  # of a module that not every Python has
            raise
        raise OSError(str(error)) from error


def _decompressed(path: Path, plain: io.BufferedReader) -> BinaryIO:
    kind = _compression(plain.peek(_MAGIC_BYTES))
    binary: Any = plain
    if kind == "gzip":
        binary = gzip.GzipFile(fileobj=plain)
    elif kind == "bzip2":
        binary = _standard_module(path, "bz2").BZ2File(plain)
    elif kind == "xz":
        binary = _standard_module(path, "lzma").LZMAFile(plain)
    elif kind == "Zstandard":
        binary = open_zstandard(path, plain)
    first = binary.peek(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    found = next((other for magic, other in OTHERS.items() if first.startswith(magic)), None)
    if first[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        found = "a tar archive", "unpack it (tar xf {}), and give a file or folder that was in it"
    if found:
        raise TasbError(
            where=str(path),
            expected="a file of lines in UTF-8, plain, gzip, bzip2, xz or Zstandard",
            found=found[0] + (f", compressed with {kind}" if kind else ""),
            do=found[1].format(path.name),
        )
    return cast("BinaryIO", binary)


def _standard_module(path: Path, name: str) -> Any:
    """`bz2` or `lzma`, which a Python that was built without their libraries lacks."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TasbError(
            where=str(path),
            expected=f"Python's module `{name}`, which reads this file",
            found="this Python was built without it",
            do="decompress the file",
        ) from error


def _skip(binary: BinaryIO, offset: int) -> None:
    if binary.seekable():
        binary.seek(offset)
        return
    while offset and (read := len(binary.read(min(offset, 1 << 20)))):
        offset -= read


# Names of columns of ids, without case, `-` and `_`.
_ID_NAMES = {
    *("id", "pid", "did", "qid", "cid", "docid", "docno", "documentid", "passageid", "corpusid", "queryid", "topicid"),
    *("posid", "pospid", "posdocid", "positiveid", "negid", "negpid", "negdocid", "negativeid"),
}
_MOST_WORDS = 3  # of a column's name


def is_id_name(name: str) -> bool:
    """True if a column with this name holds ids, such as `docid`, `_id` or `query-id`."""
    return name.strip().lower().replace("-", "").replace("_", "") in _ID_NAMES


def is_header(columns: Sequence[str]) -> bool:
    """True if a file's first line names its columns: the first is a name of ids, and the others could be names.

    A passage whose docid is really `id` is told from a header by its text: no more than 3 words are taken for a name.
    """
    return is_id_name(columns[0]) and all(0 < len(name.split()) <= _MOST_WORDS for name in columns[1:])


def note_header(path: Path, number: int, columns: Sequence[str]) -> None:
    """Tell in the log that a line was taken for a header."""
    LOG.info(
        "%s:%s: `%s` was taken for a header and skipped; a record that looks like a header must not come first",
        path,
        number,
        " ".join(columns),
    )


def read_columns(path: Path, add: Callable[[list[str]], None], *, expected: str) -> LineFaults:
    """Give the columns of each line that is not blank to `add`, whose ValueErrors become the line's fault.

    Args:
        path: the file.
        add: takes one line's columns.
        expected: what was expected of the line, for the message.

    Returns:
        The faults, still to be finished.
    """
    faults = LineFaults(path, expected=expected)
    with open_lines(path) as lines:
        for number, line in enumerate(column_lines(lines), 1):
            try:
                columns = split_columns(line)
                if columns:
                    add(columns)
            except ValueError as error:
                faults.add(number, str(error))
    return faults


def column_lines(lines: io.TextIOWrapper) -> Iterator[str]:
    """Lines for `split_columns`. One that it refuses for its length is cut: a file may be one line of gigabytes."""
    while line := lines.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith("\n"):
            line = lines.readline(LONGEST_LINE + 1)


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
        ValueError: the line is not UTF-8, or too long.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"more than {LONGEST_LINE:,} characters")
    if line.isascii():
        return line.split()
    require_utf8(line)
    # str.split() would also split at a no-break space, which to trec_eval is part of a docid.
    stripped = line.strip(ASCII_SPACE)
    return _ASCII_SPACES.split(stripped) if stripped else []


def open_zstandard(path: Path, compressed: io.BufferedReader) -> io.BufferedReader:
    """The content of a Zstandard file of one frame or several.

    Args:
        path: the file, for messages.
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
