"""Writing the files of a text store, record by record."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.texts.array_files import ArrayFile
from pyserini_tasb.texts.id_table import IDS, OFFSETS, IdTable, close_ids
from pyserini_tasb.texts.manifest import write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

KIND, VERSION = "text store", 1
TEXTS, TEXT_OFFSETS = "texts.bin", "text_offsets.npy"
FAULTS_SHOWN = 20


class RepeatedIdsError(TasbError):
    """Ids that several records have.

    Args:
        source: what the records are of.
        repeats: (id, the first record that has it, a later one), from 1; the first 20.
        count: how many records repeat an id.
        places: where the records of `repeats` are, two for each; by default their numbers.
    """

    def __init__(
        self, source: str, repeats: Sequence[tuple[str, int, int]], count: int, places: Sequence[str] | None = None
    ) -> None:
        self.source, self.repeats, self.count = source, repeats, count
        places = places or [f"record {record}" for repeat in repeats for record in repeat[1:]]
        pairs = zip(places[::2], places[1::2], strict=True)
        lines = [f"{id_!r}: {first} and {later}" for (id_, *_), (first, later) in zip(repeats, pairs, strict=True)]
        if count > len(repeats):
            lines.append(f"… and {count - len(repeats)} more")
        super().__init__(
            where=source,
            expected="every id once",
            found=f"{count} repeated id{'s' if count > 1 else ''}:\n    " + "\n    ".join(lines),
            do="remove the repeated records",
        )

    def at(self, places: Sequence[str]) -> RepeatedIdsError:
        """The same, with the places of the records of `repeats`, two for each."""
        return RepeatedIdsError(self.source, self.repeats, self.count, places)


class TextStoreWriter:
    """Writes a text store into an empty folder; a context manager. Until it is left, nothing there opens as a store.

    While records are added, memory does not grow with them; at the end it takes 24 bytes for each id.

    Args:
        folder: an empty folder.
        source: what the records are of, for messages.

    Raises:
        RepeatedIdsError: on leaving: an id was added twice.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self._folder, self._source = folder, source
        self._stack = contextlib.ExitStack()
        self._ids = self._stack.enter_context((folder / IDS).open("wb"))
        self._texts = self._stack.enter_context((folder / TEXTS).open("wb"))
        self._id_offsets = self._stack.enter_context(ArrayFile(folder / OFFSETS, np.int64))
        self._text_offsets = self._stack.enter_context(ArrayFile(folder / TEXT_OFFSETS, np.int64))
        self._end_of_ids = self._end_of_texts = 0
        self.records = 0
        for offsets in (self._id_offsets, self._text_offsets):
            offsets.append(np.zeros(1, np.int64))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
        if error is None:
            repeated = close_ids(self._folder)
            if len(repeated):
                raise self._repeats(repeated)
            write_manifest(self._folder, KIND, VERSION, {"records": self.records})

    def add(self, ids: Sequence[bytes], texts: Sequence[bytes]) -> None:
        """Append records: ids and texts in UTF-8."""
        self._ids.write(b"".join(ids))
        self._texts.write(b"".join(texts))
        self._end_of_ids = _append_ends(self._id_offsets, self._end_of_ids, ids)
        self._end_of_texts = _append_ends(self._text_offsets, self._end_of_texts, texts)
        self.records += len(ids)

    def _repeats(self, repeated: NDArray[np.int64]) -> RepeatedIdsError:
        table, repeats = IdTable(self._folder), []
        for later in repeated[:FAULTS_SHOWN].tolist():
            first = int(table.find(table.spans(np.array([later])))[0])
            repeats.append((table[later], first + 1, later + 1))
        return RepeatedIdsError(self._source, repeats, len(repeated))


def _append_ends(offsets: ArrayFile, end: int, strings: Sequence[bytes]) -> int:
    if not strings:
        return end
    ends = end + np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)))
    offsets.append(ends)
    return int(ends[-1])
