"""A Faiss folder as Pyserini knows it: the files `index` and `docid`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from pyserini_tasb.encoding.index_manifest import index_encoders
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.folders import FAISS, another_folder
from pyserini_tasb.formats.arrays import mapped_bytes

if TYPE_CHECKING:
    from pathlib import Path


INDEX, DOCID = "index", "docid"
NEWLINE = ord("\n")
BYTES_AT_ONCE = 1 << 26
# Below, a file is read: nothing is won by mapping it, and Faiss 1.15 crashes on a mapped one that ends in its header.
LEAST_MAPPED = 1 << 20
_CPP_PLACE = re.compile(r"^Error in .*? at \S+:\d+: (Error: )?")


@dataclass(frozen=True)
class OpenFolder:
    """An open index, or vector folder.

    Args:
        path: the folder.
        index: Faiss's own object, or a `TorchFlat`, which has the same methods.
        docids: the docid of each row.
    """

    path: Path
    index: Any
    docids: Sequence[str]

    def __post_init__(self) -> None:
        if self.index.ntotal != len(self.docids):
            raise TasbError(
                where=str(self.path / DOCID),
                expected=f"{self.index.ntotal} docids, one for each vector in {INDEX}",
                found=str(len(self.docids)),
                do="one of the two files is of another index or was cut off: make the index again",
            )


def open_folder(path: Path, *, mapped: bool = True) -> OpenFolder:
    """Open a Faiss folder and check that its two files belong together.

    Args:
        path: the folder.
        mapped: leave the vectors of a large index in the file, to be read as the search comes to them; otherwise
            read all of it.

    Raises:
        TasbError: not such a folder, a damaged file, or as many docids as vectors there are not.
    """
    docids = open_docids(path)
    return OpenFolder(path, read_index(path / INDEX, mapped=mapped), docids)


def open_docids(path: Path) -> DocidFile:
    """The docids of a Faiss folder.

    Raises:
        TasbError: it is not a Faiss folder, or one of its files has another size than we wrote, or cannot be read.
    """
    _require_files(path)
    index_encoders(path)  # checks the sizes
    return DocidFile(path / DOCID)


def require_faiss(index: Path) -> Any:
    """The module `faiss`, to search an index with.

    Raises:
        TasbError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise TasbError(
            where=str(index),
            expected="Faiss: nothing else searches this kind of index",
            found=str(error),
            do="pip install faiss-cpu; or search a flat index or the vectors that it was made of, which torch can do",
        ) from error
    return faiss


def read_index(file: Path, *, mapped: bool) -> Any:
    """Faiss's object for an index file.

    Raises:
        TasbError: Faiss is missing, cannot read it, or knows no mapping yet.
    """
    faiss = require_faiss(file)
    try:
        # In all kinds of index, this flag leaves the large arrays in the file (1.15: flat, quantised, HNSW, IVF).
        flags = faiss.IO_FLAG_MMAP_IFC if mapped else 0
        return faiss.read_index(str(file), flags if file.stat().st_size >= LEAST_MAPPED else 0)
    except AttributeError as error:
        raise TasbError(
            expected="Faiss 1.11 or newer, which maps index files",
            found=f"Faiss {faiss.__version__}",
            do="pip install -U faiss-cpu, or open the index without mapping",
        ) from error
    except (RuntimeError, MemoryError) as error:
        raise TasbError(
            where=str(file),
            expected="a whole Faiss index",
            found=f"Faiss says: {faiss_message(error)}",
            do="the file was cut off or is something else: copy or make it again",
        ) from error


def is_faiss_folder(path: Path) -> bool:
    """True if it is one as Pyserini writes them."""
    return (path / INDEX).is_file() and (path / DOCID).is_file()


def is_lucene_folder(path: Path) -> bool:
    """True if it is a Lucene index, of whatever, instead."""
    return any(path.glob("segments_*"))


def _require_files(path: Path) -> None:
    if is_faiss_folder(path):
        return
    found, do = another_folder(path, FAISS, "check the path")
    raise TasbError(
        where=str(path), expected=f"a Faiss folder with the files `{INDEX}` and `{DOCID}`", found=found, do=do
    )


def faiss_message(error: BaseException) -> str:
    """The message of an error of Faiss, without the C++ function and line before it."""
    return _CPP_PLACE.sub("", str(error)).strip() or type(error).__name__


class DocidFile(Sequence[str]):
    """Docids read from the file when they are asked for: 8 bytes of memory each, where a list of strings takes 60.

    As Pyserini reads them: white space at the end of a line does not count.

    Raises:
        TasbError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        expected = "a file of docids, one a line"
        with os_errors_explained(path, expected=expected, do="check the path and its permissions"):
            self._bytes = mapped_bytes(path).data
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
        return str(self._bytes[start : int(self._ends[row])], "utf-8").rstrip()


class JoinedDocids(Sequence[str]):
    """Docids of several files, one after the other.

    Attributes:
        starts: how many are before those of each file.
    """

    def __init__(self, files: Sequence[Sequence[str]]) -> None:
        self._files = files
        *self.starts, self._count = accumulate(map(len, files), initial=0)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        file = bisect_right(self.starts, row) - 1
        return self._files[file][row - self.starts[file]]


def _line_ends(content: memoryview) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each line ends, the last one without its newline too."""
    found = [
        np.flatnonzero(np.frombuffer(content[start : start + BYTES_AT_ONCE], np.uint8) == NEWLINE) + start
        for start in range(0, len(content), BYTES_AT_ONCE)
    ]
    if len(content) and content[len(content) - 1] != NEWLINE:
        found.append(np.array([len(content)]))
    return np.concatenate(found) if found else np.empty(0, np.int64)
