"""Room on a disk, asked for before it is needed; and what to say when it runs out all the same."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        folder: on the disk in question.
        needed: bytes.
        purpose: what for, in words.

    Raises:
        TasbError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TasbError(
            where=str(folder),
            expected=f"{in_words(needed)} free for {purpose}",
            found=f"{in_words(free)} free",
            do="free some, or choose a folder on another disk with --output; what is there already is not lost",
        )


def write_all(file: FileIO, block: bytes, path: Path) -> None:
    """Write a block to an unbuffered file.

    Raises:
        TasbError: the disk is full, or writing fails otherwise; `path` is named.
    """
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise write_fault(path, error) from error


def to_disk(file: FileIO, path: Path) -> None:
    """Have the system write out what it holds of a file.

    Raises:
        TasbError: it cannot; `path` is named.
    """
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise write_fault(path, error) from error


def write_fault(path: Path, error: OSError) -> TasbError:
    """What to say when a file could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return TasbError(
        where=str(path),
        expected="room on the disk" if full else "a file that can be written",
        found=error.strerror or str(error),
        do=f"{'free some' if full else 'check the folder'}, and run the same command again: it goes on from here",
    )


def in_words(size: float) -> str:
    """Bytes for a reader: `1.06 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"
