"""Arrays over files: `.npy` that grow, strings in one buffer, and ids found by their hashes."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.artifacts import DAMAGED
from pyserini_tasb.errors import TasbError
from pyserini_tasb.parsing import explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray


class ArrayFile:
    """A `.npy` file that grows; a context manager.

    Args:
        path: the file.
        dtype: the dtype of its numbers.
        columns: its shape is [rows, columns]; [rows] without.
    """

    def __init__(self, path: Path, dtype: DTypeLike, columns: int | None = None) -> None:
        self._file = path.open("wb")
        self._dtype, self._columns = np.dtype(dtype), columns
        self._rows = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            # numpy pads the header so that it keeps its length for any number of rows.
            self._file.seek(0)
            self._write_header()
        self._file.close()

    def append(self, values: NDArray[Any]) -> None:
        """Add rows at the end."""
        rows = np.ascontiguousarray(values, self._dtype)
        self._file.write(rows.data)
        self._rows += len(rows)

    def _write_header(self) -> None:
        shape = (self._rows,) if self._columns is None else (self._rows, self._columns)
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def open_array(path: Path, dtype: DTypeLike, *, dimensions: int = 1) -> NDArray[Any]:
    """The array in a `.npy` file, over the file: nothing is read yet.

    Raises:
        TasbError: the file is missing or damaged, or holds something else.
    """
    with explained(path, expected=f"a .npy file of {np.dtype(dtype)}", do=DAMAGED):
        array = mapped_array(path)
    if array.dtype != np.dtype(dtype) or array.ndim != dimensions:
        raise _wrong(path, dtype, f"{array.dtype}, shape {array.shape}")
    return array


def mapped_array(path: Path) -> NDArray[Any]:
    """The array in a `.npy` file, over the file, as `mapped_bytes` maps it.

    Raises:
        ValueError: the file is no `.npy` file, ends too early, or holds Python objects.
        TasbError: see `mapped_bytes`.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        start = file.tell()
    content = mapped_bytes(path)
    if dtype.hasobject:
        raise ValueError("Python objects in dtype")
    if len(content) < start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes, for {dtype} {list(shape)}")
    return np.ndarray(shape, dtype, content.data, start, order="F" if is_fortran else "C")


def mapped_bytes(path: Path) -> NDArray[np.uint8]:
    """A file's bytes [size], over the file: nothing is read yet, and the file does not stay open.

    Python's mmap keeps the file open (until Python 3.13 always), and so does numpy's memmap. A process often may open
    1,024 files, and a vector folder of MS MARCO has 1,080.

    Raises:
        TasbError: the system maps no more files.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return np.empty(0, np.uint8)
        address = _system().mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        if address == ctypes.c_void_p(-1).value:
            raise TasbError(
                where=str(path),
                expected="a file that can be mapped into memory",
                found=os.strerror(ctypes.get_errno()),
                do="Linux maps 65,530 files in a process: raise that with `sysctl -w vm.max_map_count=N`",
            )
    return np.asarray(_Mapping(address, size))


class _Mapping:
    """A file in memory, for as long as an array over it lives."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {"data": (address, True), "shape": (size,), "typestr": "|u1", "version": 3}
        # Not at the process's end, when other threads may still read it.
        weakref.finalize(self, _system().munmap, address, size).atexit = False


@functools.cache
def _system() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def _wrong(path: Path, dtype: DTypeLike, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected=f"a .npy file of {np.dtype(dtype)}",
        found=found,
        do=DAMAGED,
    )


WORD = 8
PADDING = b"\0" * WORD
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(WORD)] + [2**64 - 1], np.uint64)


@dataclass(frozen=True)
class Spans:
    """Many short strings as places in one buffer, hashed and compared without a Python object for each.

    Args:
        buffer: bytes; at least 8 follow the last string.
        starts: [strings] where each begins.
        lengths: [strings] in bytes.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Spans:
        """Spans of strings in memory."""
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        buffer = np.frombuffer(b"".join(strings) + PADDING, np.uint8)
        return cls(buffer, np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, chosen: NDArray[np.int64] | slice) -> Spans:
        return Spans(self.buffer, self.starts[chosen], self.lengths[chosen])

    def string(self, number: int) -> str:
        """One of the strings, for a message."""
        start = int(self.starts[number])
        return bytes(self.buffer[start : start + int(self.lengths[number])]).decode(errors="replace")

    def strings(self) -> Iterator[bytes]:
        """All strings, one after the other."""
        memory = self.buffer.data
        for start, end in zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True):
            yield bytes(memory[start:end])

    def first_bytes(self, count: int) -> NDArray[np.uint8]:
        """[strings, count] the first bytes of each; 0 where a string has ended."""
        first = np.zeros((len(self), count), np.uint8)
        for place in range(count):
            longer = np.flatnonzero(self.lengths > place)
            first[longer, place] = self.buffer[self.starts[longer] + place]
        return first

    def hashes(self) -> NDArray[np.uint64]:
        """64-bit hashes, the same on every machine. Not proof against people who want collisions: compare, too."""
        hashes = _mix(self.lengths.astype(np.uint64))
        for offset, rest in self._word_offsets():
            hashes[rest] = _mix(hashes[rest] ^ self._words(rest, offset))
        return hashes

    def equal(self, others: Spans) -> NDArray[np.bool_]:
        """Which of these strings equal their partners."""
        equal: NDArray[np.bool_] = self.lengths == others.lengths
        for offset, longer in self._word_offsets():
            rest = longer[equal[longer]]
            equal[rest] = self._words(rest, offset) == others._words(rest, offset)
        return equal

    def _word_offsets(self) -> list[tuple[int, NDArray[np.int64]]]:
        longest = int(self.lengths.max(initial=0))
        return [(offset, np.flatnonzero(self.lengths > offset)) for offset in range(0, longest, WORD)]

    def _words(self, numbers: NDArray[np.int64], offset: int) -> NDArray[np.uint64]:
        """Eight bytes of each string from `offset` on; what is beyond its end is zero."""
        # Every offset is the start of a word: an overlapping view, which copies nothing.
        words: NDArray[np.uint64] = np.ndarray((len(self.buffer) - WORD + 1,), "<u8", self.buffer, 0, (1,))
        masks = _MASKS[np.minimum(self.lengths[numbers] - offset, WORD)]
        return words[self.starts[numbers] + offset] & masks


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


IDS, OFFSETS, HASHES, ORDER = "ids.bin", "id_offsets.npy", "id_hashes.npy", "id_order.npy"
CHUNK = 1 << 18


class IdTable:
    """The ids of a store in mapped files: by index, and back to the index through sorted hashes.

    Args:
        folder: where `close_ids` wrote them.
    """

    def __init__(self, folder: Path) -> None:
        # Mapped as an array even if it holds nothing but the padding.
        self._bytes: NDArray[np.uint8] = mapped_bytes(folder / IDS)
        self._offsets = open_array(folder / OFFSETS, np.int64)
        self._hashes = open_array(folder / HASHES, np.uint64)
        self._order = open_array(folder / ORDER, np.uint32)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self._offsets[index : index + 2].tolist()
        return self._bytes[start:end].tobytes().decode()

    def spans(self, indices: NDArray[np.integer] | slice) -> Spans:
        """The ids at these indices."""
        if isinstance(indices, slice):
            start, end, _ = indices.indices(len(self))
            offsets = self._offsets[start : end + 1]
            return Spans(self._bytes, offsets[:-1], np.diff(offsets))
        starts = self._offsets[indices]
        return Spans(self._bytes, starts, self._offsets[indices + 1] - starts)

    def find(self, ids: Spans) -> NDArray[np.int64]:
        """The index of each id, -1 where there is none; every hit is compared byte by byte."""
        found = np.full(len(ids), -1, np.int64)
        hashes = ids.hashes()
        # Neighbours in the table one after the other: eight times as fast as in the order given.
        todo = np.argsort(hashes)
        places = np.searchsorted(self._hashes, hashes[todo])
        while len(todo):
            inside = places < len(self._hashes)
            todo, places = todo[inside], places[inside]
            same = self._hashes[places] == hashes[todo]
            todo, places = todo[same], places[same]
            indices = self._order[places].astype(np.int64)
            equal = ids[todo].equal(self.spans(indices))
            found[todo[equal]] = indices[equal]
            # Two ids with one hash stand side by side.
            todo, places = todo[~equal], places[~equal] + 1
        return found


def close_ids(folder: Path) -> NDArray[np.int64]:
    """Write the hashes of the ids that `ids.bin` and `id_offsets.npy` hold; the indices that repeat an earlier id.

    24 bytes of memory for each id.
    """
    with (folder / IDS).open("ab") as file:
        file.write(PADDING)
    buffer = mapped_bytes(folder / IDS)
    offsets = open_array(folder / OFFSETS, np.int64)
    count = len(offsets) - 1
    hashes = np.empty(count, np.uint64)
    for start in range(0, count, CHUNK):
        bounds = offsets[start : min(start + CHUNK, count) + 1]
        hashes[start : start + CHUNK] = Spans(buffer, bounds[:-1], np.diff(bounds)).hashes()
    # Stable: of two ids with one hash the earlier one comes first.
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    hashes = hashes[order]
    with ArrayFile(folder / HASHES, np.uint64) as file:
        file.append(hashes)
    with ArrayFile(folder / ORDER, np.uint32) as file:
        file.append(order)
    table = IdTable(folder)
    suspects = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
    indices = order[suspects].astype(np.int64)
    return np.sort(indices[table.find(table.spans(indices)) != indices])
