"""The passages to encode: one collection or several, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.texts.collections import open_collection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.texts.collections import Mark


class Corpus:
    """Passages with docids, in a fixed order.

    Args:
        paths: each what `open_collection` takes.

    Raises:
        TasbError: no collection is there.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._collections = [open_collection(Path(path)) for path in paths]

    def marked(self, start: Mark | None = None) -> Iterator[tuple[Mark, str, str]]:
        """Mark, docid and text of every passage from the one at `start` on.

        Raises:
            TasbError: what cannot be read.
        """
        first, *within = start or (0,)
        for number, collection in enumerate(self._collections[first:], first):
            begin = tuple(within) if within and number == first else None
            for mark, docid, text in collection.marked(begin):
                yield (number, *mark), docid, text

    def place(self, mark: Mark) -> str:
        """Where a passage is: `file:line`, or whatever leads to it."""
        number, *within = mark
        return self._collections[number].place(tuple(within))

    def state(self) -> list[list[str | int]]:
        """Path, size and time of change of every file: another once a file is changed.

        Raises:
            TasbError: a file is gone.
        """
        state: list[list[str | int]] = []
        for collection in self._collections:
            for path in collection.files():
                with os_errors_explained(path, expected="a file of the corpus", do="check the path"):
                    status = path.stat()
                state.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
        return state
