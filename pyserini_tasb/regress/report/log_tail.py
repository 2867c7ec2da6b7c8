"""The end of a command's log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.child import LINE_ENDS

if TYPE_CHECKING:
    from pathlib import Path

LINES = 60
BYTES = 64 * 1024
CHARACTERS = 400  # of a line


def log_tail(folder: Path, name: str) -> str:
    """The last lines, long ones cut; empty if there is no such log, or it is outside the folder.

    Args:
        folder: of the outputs.
        name: of the log, relative to it.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):  # a results file may come from anywhere
        return ""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - BYTES))
            text = file.read(BYTES)
    except OSError:
        return ""
    lines = [line.decode(errors="replace") for line in LINE_ENDS.split(text) if line.strip()]
    return "\n".join(cut(line) for line in lines[-LINES:])


def cut(line: str) -> str:
    """At most `CHARACTERS` of a line, and how many are not there."""
    left = len(line) - CHARACTERS
    return line if left <= 0 else f"{line[:CHARACTERS]} … ({left:,} more characters)"
