"""Large files of tab-separated rows, read in chunks that stay bytes; faulty rows are named, or skipped and counted."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.arrays import PADDING, Spans
from pyserini_tasb.formats.lines import FAULTS_SHOWN, compression, note_header, open_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


CHUNK_BYTES = 1 << 24
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TAB, LINE_END, RETURN = b"\t\n\r"
_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
FIX_OR_SKIP = f"fix or remove these lines, or add {argument('skip_bad', True)} to leave them out"


@dataclass(frozen=True)
class RowChunk:
    """Some rows of a file.

    Args:
        lines: [rows] line numbers, from 1.
        numbers: float32 [rows, leading columns that are numbers].
        columns: the other columns; each has [rows] strings.
    """

    lines: NDArray[np.int64]
    numbers: NDArray[np.float32]
    columns: tuple[Spans, ...]


def read_rows(
    path: Path, *, numbers: int, strings: int, faults: RowFaults, is_header: Callable[[list[str]], bool] | None = None
) -> Iterator[RowChunk]:
    r"""The rows of a file, plain or compressed; blank lines are no rows; lines end at \n or \r\n.

    Args:
        path: the file.
        numbers: how many columns, at the front, are finite numbers.
        strings: how many columns follow, none of them empty.
        faults: gets the lines that are not like that.
        is_header: whether the columns of a first row are names; it is skipped then, with a note.

    Raises:
        TasbError: the file cannot be read, or `faults` has reached its limit.
    """
    line = rows = 0
    for number, whole in enumerate(_chunks(path)):
        chunk = _without_header(path, whole, is_header) if is_header and not number else whole
        lines = chunk.count(b"\n")
        parsed = _parse(chunk, np.arange(line + 1, line + lines + 1), numbers, strings)
        if parsed is None:
            good, found, count, filled = _sift(chunk, line, numbers, numbers + strings)
            rows += filled
            faults.add(found, count, up_to=line + lines)
            parsed = _parse(b"".join(good.values()), np.fromiter(good, np.int64, len(good)), numbers, strings)
            if parsed is None:
                raise AssertionError(f"{path}: lines after {line} are correct but cannot be read")
        else:
            rows += lines
        line += lines
        if len(parsed.lines):
            yield parsed
    faults.finish(rows=rows)


def _without_header(path: Path, chunk: bytes, is_header: Callable[[list[str]], bool]) -> bytes:
    """A file's first chunk with a blank line in place of a header, so that the others keep their numbers."""
    first = len(chunk) - len(chunk.lstrip(b"\r\n"))
    end = chunk.find(b"\n", first)
    columns = chunk[first:end].decode(errors="replace").rstrip("\r").split("\t")
    if end < 0 or not is_header(columns):
        return chunk
    note_header(path, chunk.count(b"\n", 0, first) + 1, columns)
    return chunk[:first] + chunk[end:]


def first_row(path: Path) -> list[bytes]:
    """The columns of the first line that is not blank; empty if all lines are blank.

    Raises:
        TasbError: the file cannot be read.
    """
    with open_lines(path) as lines:
        line = next((line for line in lines if line.strip()), "")
    return line.rstrip("\r\n").encode(errors="surrogateescape").split(b"\t") if line else []


def is_number(text: bytes) -> bool:
    """True if `text` is a number that float32 can hold."""
    return bool(_NUMBER.fullmatch(text)) and abs(float(text)) <= float(np.finfo(np.float32).max)


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes in parts that end with a line."""
    from tqdm.auto import tqdm

    with open_lines(path) as lines:
        file = cast("BinaryIO", lines.buffer)
        begun = [file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)]
        size = None if compression(path) else path.stat().st_size
        with tqdm(total=size, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=hidden(None)) as progress:
            while block := file.read(CHUNK_BYTES):
                progress.update(len(block))
                whole, line_end, tail = block.rpartition(b"\n")
                if line_end:
                    yield b"".join((*begun, whole, line_end))
                    begun = [tail]
                else:
                    begun.append(block)
            if rest := b"".join(begun):
                yield rest + b"\n"


def _parse(chunk: bytes, lines: NDArray[np.int64], numbers: int, strings: int) -> RowChunk | None:
    """All rows of the chunk, if every line is right; otherwise None."""
    buffer = np.frombuffer(chunk + PADDING, np.uint8)
    body = buffer[: len(chunk)]
    columns = numbers + strings
    separators = np.flatnonzero((body == TAB) | (body == LINE_END))
    if len(separators) != len(lines) * columns:
        return None
    ends = separators.reshape(-1, columns)
    # There are as many line ends as rows: if each is at the end of a row, then all others are tabs.
    if (body[ends[:, -1]] != LINE_END).any():
        return None
    starts = np.empty_like(ends)
    starts.flat[0:1] = 0
    starts.flat[1:] = separators[:-1] + 1
    lengths = ends - starts
    lengths[:, -1] -= body[ends[:, -1] - 1] == RETURN
    if (lengths <= 0).any():
        return None
    values = _floats(body, starts[:, 0], ends[:, numbers - 1], numbers) if numbers else np.empty((len(lines), 0), "f4")
    if values is None:
        return None
    fields = (Spans(buffer, starts[:, column], lengths[:, column]) for column in range(numbers, columns))
    return RowChunk(lines, values, tuple(fields))


def _floats(
    body: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], columns: int
) -> NDArray[np.float32] | None:
    """float32 [rows, columns] from the text between `starts` and `ends`, if it is that many finite numbers."""
    change = np.zeros(len(body) + 1, np.int8)
    change[starts] = 1
    change[ends + 1] = -1
    text = body[np.cumsum(change[:-1], dtype=np.int8).view(np.bool_)].tobytes()
    if b" " in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = np.fromstring(text, np.float64, sep=" ")
    except (DeprecationWarning, ValueError):
        return None
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if len(narrow) != len(starts) * columns or not np.isfinite(narrow).all():
        return None
    return narrow.reshape(-1, columns)


def _sift(
    chunk: bytes, before: int, numbers: int, columns: int
) -> tuple[dict[int, bytes], list[tuple[int, str]], int, int]:
    """Right lines by number, faults, how many faults, and how many lines are not blank."""
    good: dict[int, bytes] = {}
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(chunk.split(b"\n")[:-1], before + 1):
        if not line.strip():
            continue
        found = _what_is_wrong(line, numbers, columns)
        if found:
            faults.append((number, found))
        else:
            good[number] = line + b"\n"
    return good, faults, len(faults), len(good) + len(faults)


def _what_is_wrong(line: bytes, numbers: int, columns: int) -> str | None:
    fields = line.removesuffix(b"\r").split(b"\t")
    if len(fields) != columns:
        return f"{len(fields)} column{'s' if len(fields) > 1 else ''} between tabs"
    for field in fields[:numbers]:
        if not is_number(field):
            return f"score {field.decode(errors='replace')!r} is not a finite number"
    if not all(fields):
        return "an empty column"
    return None


class RowFaults:
    """The faults in the rows of a file. Reading stops at the chunk in which the limit is reached.

    Args:
        path: the file.
        expected: what a right row holds.
        skip: count faulty rows instead of refusing the file.
        advice: what to do about them.

    Attributes:
        count: faulty rows so far.
    """

    def __init__(self, path: Path, *, expected: str, skip: bool, advice: str = FIX_OR_SKIP) -> None:
        self.path, self._expected, self._skip, self._advice = path, expected, skip, advice
        self.count = 0
        self._kept: list[tuple[int, str]] = []

    @property
    def shown(self) -> list[str]:
        """The first 20 as `file:line: what is wrong`; without a line where there is none."""
        return [
            f"{self.path}:{line}: {found}" if line else f"{self.path}: {found}" for line, found in sorted(self._kept)
        ]

    def add(self, faults: Sequence[tuple[int, str]], count: int, *, up_to: int | None = None) -> None:
        """Note faults of the next rows.

        Args:
            faults: (line number from 1, or 0 if it has none; what is wrong): at least the first 20.
            count: the number of faulty lines.
            up_to: the last line looked at, if reading goes on.

        Raises:
            TasbError: the limit is reached.
        """
        self._kept += sorted(faults)[: FAULTS_SHOWN - len(self._kept)]
        self.count += count
        if up_to is not None and not self._skip and self.count >= FAULTS_SHOWN:
            raise self._error(f" up to line {up_to}, where reading stopped")

    def finish(self, *, rows: int) -> None:
        """Report what was added, once the whole file is read.

        Args:
            rows: how many lines the file had.

        Raises:
            TasbError: there was a fault, or no row at all.
        """
        if self.count and not self._skip:
            raise self._error("")
        if not rows:
            raise TasbError(
                where=str(self.path),
                expected=f"lines of {self._expected}",
                found="an empty file",
                do="check how it was written",
            )

    def _error(self, extent: str) -> TasbError:
        more = self.count - len(self._kept)
        lines = [*self.shown, f"… and {more} more"] if more else self.shown
        return TasbError(
            where=str(self.path),
            expected=f"lines of {self._expected}",
            found=f"{self.count} faulty line{'s' if self.count > 1 else ''}{extent}:\n    " + "\n    ".join(lines),
            do=self._advice,
        )
