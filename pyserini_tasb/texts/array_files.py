"""`.npy` files: appended to while their length is unknown, and opened as plain arrays over the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray


class ArrayFile:
    """A `.npy` file that grows; a context manager.

    Args:
        path: the file.
        dtype: of its numbers.
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
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _wrong(path, dtype, str(error)) from error
    if array.dtype != np.dtype(dtype) or array.ndim != dimensions:
        raise _wrong(path, dtype, f"{array.dtype}, shape {array.shape}")
    return np.asarray(array)


def _wrong(path: Path, dtype: DTypeLike, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected=f"a .npy file of {np.dtype(dtype)}",
        found=found,
        do="the store is damaged: build it again",
    )
