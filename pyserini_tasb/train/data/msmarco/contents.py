"""What is in a file (bytes, md5, rows), and whether that is what was published."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.train.data.msmarco.disk import to_disk, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

BLOCK = 1 << 20


@dataclass(frozen=True)
class Contents:
    """Size in bytes, md5 as 32 hexadecimal digits, and number of lines (a last line needs no line end)."""

    size: int
    md5: str
    rows: int


class Tally:
    """Contents, counted block by block."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size = self._line_ends = 0
        self._unended = False

    def add(self, block: bytes) -> None:
        """Count the next bytes of the file."""
        if block:
            self._md5.update(block)
            self._size += len(block)
            self._line_ends += block.count(b"\n")
            self._unended = not block.endswith(b"\n")

    @property
    def contents(self) -> Contents:
        """What has been counted."""
        return Contents(self._size, self._md5.hexdigest(), self._line_ends + self._unended)


def contents_of(path: Path) -> Contents:
    """Read a whole file; the progress is shown.

    Raises:
        TasbError: it cannot be read.
    """
    from tqdm import tqdm

    tally, name = Tally(), path.name.removesuffix(".part")
    with (
        os_errors_explained(
            path, expected="a file that can be read", do="check its permissions, and that its disk is there"
        ),
        path.open("rb") as file,
        tqdm(total=os.fstat(file.fileno()).st_size, desc=f"check {name}", unit="B", unit_scale=True) as bar,
    ):
        while block := file.read(BLOCK):
            tally.add(block)
            bar.update(len(block))
    return tally.contents


def copy(source: BinaryIO, target: Path, on_block: Callable[[int], object]) -> Contents:
    """Copy an open file into a new one, to the disk, and tell what was copied.

    Args:
        source: read to its end.
        target: written anew.
        on_block: called with the number of bytes of each block.

    Raises:
        TasbError: the disk is full, or writing fails otherwise.
    """
    tally = Tally()
    with target.open("wb", buffering=0) as file:
        while block := source.read(BLOCK):
            write_all(file, block, target)
            tally.add(block)
            on_block(len(block))
        to_disk(file, target)
    return tally.contents


def difference(found: Contents, *, md5: str | None = None, rows: int | None = None) -> tuple[str, str] | None:
    """What was expected and what was found instead; None if the contents are right.

    Args:
        found: the file's contents.
        md5: as published; None if it is not.
        rows: likewise.
    """
    if md5 is not None and found.md5 != md5:
        return f"md5 {md5}", f"md5 {found.md5}, {found.size:,} bytes"
    if rows is not None and found.rows != rows:
        return f"{rows:,} rows", f"{found.rows:,} rows, {found.size:,} bytes"
    return None
