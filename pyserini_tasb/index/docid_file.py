"""The `docid` file of a Faiss folder: one docid a line, in the order of the vectors."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from pyserini_tasb.errors import os_errors_explained

if TYPE_CHECKING:
    from pathlib import Path

NEWLINE = ord("\n")
BYTES_AT_ONCE = 1 << 26


class DocidFile(Sequence[str]):
    """Docids read from the file when they are asked for: 8 bytes of memory each, where a list of strings takes 60.

    As Pyserini reads them: white space at the end of a line does not count.

    Raises:
        TasbError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        expected = "a file of docids, one a line"
        with (
            os_errors_explained(path, expected=expected, do="check the path and its permissions"),
            path.open("rb") as file,
        ):
            # An empty file cannot be mapped.
            empty = path.stat().st_size == 0
            self._bytes: mmap.mmap | bytes = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends = _line_ends(self._bytes)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        start = int(self._ends[row - 1]) + 1 if row else 0
        return self._bytes[start : int(self._ends[row])].decode().rstrip()


def _line_ends(content: mmap.mmap | bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each line ends, the last one without its newline too."""
    found = [
        np.flatnonzero(np.frombuffer(content[start : start + BYTES_AT_ONCE], np.uint8) == NEWLINE) + start
        for start in range(0, len(content), BYTES_AT_ONCE)
    ]
    if len(content) and content[len(content) - 1] != NEWLINE:
        found.append(np.array([len(content)]))
    return np.concatenate(found) if found else np.empty(0, np.int64)
