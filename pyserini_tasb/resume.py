"""A file that grows for hours: a kill at any moment loses what is being added, and nothing before it.

`PATH.part` grows, `PATH.part.json` says what it is made of and how much of it is certain, and `PATH.lock` keeps other
processes off. In the end `PATH.part` becomes PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pyserini_tasb.artifacts import LOCK, PART, lock_file, made_parents, read_sidecar
from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.outputs import (
    is_standard_output,
    new_file,
    remove_left_parts,
    require_new_file,
    require_no_file_above,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager


@contextlib.contextmanager
def partial_file(
    path: Path,
    expected: str = "a file that can be written",
    *,
    overwrite: bool = False,
    inputs: object = (),
    name: str = "output",
) -> Iterator[PartialFile]:
    """Yield what an interrupted process left of a file, or an empty one; no other process gets it meanwhile.

    Enter it before slow work: a file that the finished one would replace is refused here.

    Args:
        path: the whole file; `-` is standard output, for which nothing is kept after an interruption.
        expected: what the file should be, for the message where nothing can be written.
        overwrite: replace a file at `path`, once the new one is complete.
        inputs: arguments of the verb that may be paths, or lists of them. The file is none of them.
        name: the argument that the user named the file by, for errors.

    Raises:
        TasbError: `path` is in the way, nothing can be written there, or another process is at work.
    """
    with contextlib.ExitStack() as held:
        if is_standard_output(path):
            printed = held.enter_context(new_file(path))
            part = PartialFile(
                Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tasb-")), "output"), expected
            )
            yield part
            printed.write(part.whole.read_bytes())
            return
        part = PartialFile(path, expected)
        require_no_file_above(path, expected, name=name)
        with part.errors_explained():
            held.enter_context(made_parents(path))
            held.enter_context(lock_file(path.with_name(f"{path.name}{LOCK}")))
            part.tidy(overwrite=overwrite)
            remove_left_parts(path)
        require_new_file(path, overwrite=overwrite, inputs=inputs, name=name)
        yield part


# In `PATH.part.json`: all that is left is to remove both files.
WRITTEN = "written"


class PartialFile:
    """A file in the making, as `partial_file` yields it. Its methods raise a TasbError where the disk refuses.

    Attributes:
        whole: what it becomes.
        path: what is there of it, `PATH.part`.
        sidecar: `PATH.part.json`.
    """

    def __init__(self, whole: Path, expected: str) -> None:
        self.whole, self._expected = whole, expected
        self.path = whole.with_name(f"{whole.name}{PART}")
        self.sidecar = whole.with_name(f"{whole.name}{PART}.json")
        # One name each: what a kill leaves is used again.
        self._new_sidecar = whole.with_name(f"{whole.name}{PART}.json.new")
        self._instead = whole.with_name(f"{whole.name}.whole{PART}")

    def tidy(self, *, overwrite: bool) -> None:
        """Remove what a killed process left besides what can be continued.

        Args:
            overwrite: the whole file, if there is one, is to be made again.
        """
        if self.about.get(WRITTEN) and not self._instead.exists() and not overwrite:
            self.path.unlink(missing_ok=True)
        for path in (self._instead, self._new_sidecar):
            path.unlink(missing_ok=True)
        if not self.path.exists():  # a process was killed when it had done all but this
            self.sidecar.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How many bytes are there, certain ones and others."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def about(self) -> dict[str, Any]:
        """The content of `PATH.part.json`; nothing if it is missing or damaged."""
        return read_sidecar(self.sidecar)

    def begin(self, about: Mapping[str, Any], size: int = 0) -> None:
        """Keep the first bytes of what is there, and go on behind them.

        Args:
            about: the text for `note`.
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
        with self.errors_explained():
            with self._new_sidecar.open("w", encoding="utf-8") as file:
                file.write(json.dumps(about, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._new_sidecar.replace(self.sidecar)

    def finish(self) -> None:
        """Put the file in its place."""
        with self.errors_explained():
            self.path.replace(self.whole)
            self.sidecar.unlink()

    @contextlib.contextmanager
    def replaced(self) -> Iterator[BinaryIO]:
        """A file to write that gets the name of the whole one, in place of the part, at the end of the block."""
        with self.errors_explained():
            try:
                with self._instead.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                self.note({**self.about, WRITTEN: True})
                self._instead.replace(self.whole)
            finally:
                self._instead.unlink(missing_ok=True)
        self.remove()

    def remove(self) -> None:
        """Remove what is there: something else stands in its place."""
        with self.errors_explained():
            self.path.unlink()
            self.sidecar.unlink()

    def errors_explained(self) -> AbstractContextManager[None]:
        """A block in which what the operating system refuses becomes a TasbError."""
        advice = "check the folder, its permissions and the space on the disk; then the same command continues"
        return os_errors_explained(self.whole, expected=self._expected, do=advice)
