"""What a file or folder holds, in a few characters: to see whether it has changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# An index can have 27 GB: what is larger than this together goes by size and time.
DIGESTED_BYTES = 64 << 20


def file_state(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their names; of more than 64 MiB, their size and latest change.

    Raises:
        OSError: nothing there, or it cannot be read.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    size = sum(stat.st_size for stat in stats)
    if size > DIGESTED_BYTES:
        return f"{size} bytes, changed {max(stat.st_mtime_ns for stat in stats)}"
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            name = str(file.relative_to(path)).encode()
            digest.update(name + b"\0" + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
