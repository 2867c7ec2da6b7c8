"""A file that grows for hours: a kill at any moment loses what is being added, and nothing before it.

`PATH.part` grows, `PATH.part.json` says what it is made of and how much of it is certain, and `PATH.lock` keeps other
processes off. In the end `PATH.part` becomes PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import lock_file, read_sidecar
from pyserini_tasb.errors import os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path


@contextlib.contextmanager
def partial_file(path: Path, expected: str) -> Iterator[PartialFile]:
    """Yield what an interrupted process left of a file, or an empty one; no other process gets it meanwhile.

    Args:
        path: the whole file, which this does not look at.
        expected: what the file should be, for the message where nothing can be written.

    Raises:
        TasbError: nothing can be written there, or another process is at work.
    """
    part = PartialFile(path, expected)
    with contextlib.ExitStack() as held:
        with part.errors_explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_file(path.with_name(f"{path.name}.lock")))
            if not part.path.exists():  # a process was killed when it had done all but this
                part.sidecar.unlink(missing_ok=True)
        yield part


class PartialFile:
    """A file in the making, as `partial_file` yields it. Its methods raise a TasbError where the disk refuses.

    Attributes:
        path: what is there of it, `PATH.part`.
        sidecar: `PATH.part.json`.
    """

    def __init__(self, whole: Path, expected: str) -> None:
        self._whole, self._expected = whole, expected
        self.path = whole.with_name(f"{whole.name}.part")
        self.sidecar = whole.with_name(f"{whole.name}.part.json")

    @property
    def size(self) -> int:
        """How many bytes are there, certain ones and others."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def about(self) -> dict[str, Any]:
        """What `PATH.part.json` says; nothing if it is missing or damaged."""
        return read_sidecar(self.sidecar)

    def begin(self, about: Mapping[str, Any], size: int = 0) -> None:
        """Keep the first bytes of what is there, and go on behind them.

        Args:
            about: for `note`.
            size: how many bytes are kept.
        """
        if about != self.about:  # before the file: bytes of which nothing says what they are would be of no use
            self.note(about)
        with self.errors_explained(), self.path.open("ab") as file:
            file.truncate(size)

    def append(self, content: bytes) -> None:
        """Add bytes, which are on the disk afterwards."""
        with self.errors_explained(), self.path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def note(self, about: Mapping[str, Any]) -> None:
        """Say what the file is made of and, unless its content shows it, how much of it is certain."""
        beside = self.sidecar.with_name(f"{self.sidecar.name}.new")  # one name: what a kill leaves is used again
        with self.errors_explained():
            with beside.open("w", encoding="utf-8") as file:
                file.write(json.dumps(about, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.sidecar)

    def finish(self) -> None:
        """Put the file in its place."""
        with self.errors_explained():
            self.path.replace(self._whole)
            self.sidecar.unlink()

    def remove(self) -> None:
        """Remove what is there: something else stands in its place."""
        with self.errors_explained():
            self.path.unlink()
            self.sidecar.unlink()

    def errors_explained(self) -> AbstractContextManager[None]:
        """What the operating system refuses in the block, as a TasbError."""
        advice = "check the folder, its permissions and the space on the disk; the same command then goes on"
        return os_errors_explained(self._whole, expected=self._expected, do=advice)
