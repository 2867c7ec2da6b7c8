"""Texts by index and by id, in memory-mapped files: millions of passages, next to no memory."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from tqdm.auto import tqdm

from pyserini_tasb.artifacts import read_manifest, values_explained, write_manifest
from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.arrays import IDS, OFFSETS, ArrayFile, IdTable, Spans, close_ids, mapped_bytes, open_array
from pyserini_tasb.outputs import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray


class Texts(Protocol):
    """Texts by index; a `TextStore` is one."""

    def __len__(self) -> int:
        """How many."""

    def texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """The texts at `indices`, in that order."""


class ListedTexts:
    """Texts in memory.

    Args:
        listed: the texts; index i is the i-th.
    """

    def __init__(self, listed: Sequence[str]) -> None:
        self._listed = listed

    def __len__(self) -> int:
        return len(self._listed)

    def texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """The texts at `indices`, in that order."""
        return [self._listed[int(index)] for index in indices]


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


BATCH = 4096
WINDOW = 1 << 18


class TextStore:
    """A folder of texts with ids, each at an index; iterating gives (id, text).

    Attributes:
        folder: where it is.
        fingerprint: changes when the content does.

    Args:
        folder: what `write_text_store` wrote. Nothing is read before it is asked for.

    Raises:
        TasbError: not a text store, a damaged one, or one of a newer format.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder, KIND, VERSION)
        self.folder = folder
        with values_explained(folder):
            self.fingerprint: str = manifest["fingerprint"]
        self._ids = IdTable(folder)
        self._offsets: NDArray[np.int64] = open_array(folder / TEXT_OFFSETS, np.int64)
        self._texts = mapped_bytes(folder / TEXTS).data

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.records(0, len(self))

    def records(self, first: int, end: int) -> Iterator[tuple[str, str]]:
        """(id, text) from the index `first` to before `end`."""
        for start in range(first, end, BATCH):
            indices = np.arange(start, min(start + BATCH, end))
            yield from zip(self.ids(indices), self.texts(indices), strict=True)

    def text(self, index: int) -> str:
        """The text at an index."""
        return self.texts([index])[0]

    def texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """The texts at these indices."""
        return [text.decode() for text in self.encoded_texts(indices)]

    def id(self, index: int) -> str:
        """The id at an index."""
        return self.ids([index])[0]

    def ids(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """The ids at these indices."""
        return [id_.decode() for id_ in self.encoded_ids(indices)]

    def encoded_texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[bytes]:
        """The texts at these indices, in UTF-8."""
        numbers = _as_array(indices)
        bounds = zip(self._offsets[numbers].tolist(), self._offsets[numbers + 1].tolist(), strict=True)
        return [self._texts[start:end].tobytes() for start, end in bounds]

    def encoded_ids(self, indices: Iterable[int] | NDArray[np.integer]) -> list[bytes]:
        """The ids at these indices, in UTF-8."""
        return list(self._ids.spans(_as_array(indices)).strings())

    def indices(self, ids: Sequence[str] | Spans) -> NDArray[np.int64]:
        """The index of each id, -1 where it is not in the store."""
        # "surrogatepass": what is not UTF-8 is in no store, and need not stop the search for the others.
        spans = ids if isinstance(ids, Spans) else Spans.of([id_.encode("utf-8", "surrogatepass") for id_ in ids])
        return self._ids.find(spans)

    def first_bytes(self, count: int) -> NDArray[np.uint8]:
        """[records, count] the first bytes of each text in UTF-8; 0 where the text has ended."""
        first = np.zeros((len(self), count), np.uint8)
        for start in range(0, len(self), WINDOW):
            # What a mapping has read stays in memory for as long as the mapping lives.
            first[start : start + WINDOW] = TextStore(self.folder).window(start, start + WINDOW).first_bytes(count)
        return first

    def window(self, start: int, end: int) -> Spans:
        """The texts from `start` to before `end`, in UTF-8. The last one may end with the mapped file."""
        bounds = self._offsets[start : end + 1]
        return Spans(np.frombuffer(self._texts, np.uint8), bounds[:-1], np.diff(bounds))

    def without_text(self) -> NDArray[np.bool_]:
        """[records] which texts are empty."""
        empty = np.empty(len(self), np.bool_)
        for start in range(0, len(self), 1 << 20):
            bounds = self._offsets[start : start + (1 << 20) + 1]
            empty[start : start + len(bounds) - 1] = bounds[1:] == bounds[:-1]
        return empty


def write_text_store(
    folder: Path, records: Iterable[tuple[str, str]], *, source: str | None = None, overwrite: bool = False
) -> TextStore:
    """Write a text store; `folder` is there only once it is complete.

    Args:
        folder: absent or empty, unless `overwrite`.
        records: (id, text), read once, in the order of the indices.
        source: what the records are of, for messages.
        overwrite: replace a store in `folder`.

    Raises:
        TasbError: an id is empty or there twice, a record is not UTF-8, or `folder` is in the way.
    """
    with new_folder(folder, overwrite=overwrite) as beside:
        fill_text_store(beside, records, source or str(folder))
    return TextStore(folder)


def fill_text_store(folder: Path, records: Iterable[tuple[str, str]], source: str) -> TextStore:
    """Write a text store into an empty folder that is part of something larger; otherwise as `write_text_store`."""
    with TextStoreWriter(folder, source) as writer:
        remaining = iter(records)
        while batch := list(itertools.islice(remaining, BATCH)):
            try:
                writer.add([_encoded_id(id_) for id_, _ in batch], [text.encode() for _, text in batch])
            except ValueError:
                raise _unusable(source, batch, writer.records) from None
    return TextStore(folder)


def copy_text_store(folder: Path, source: TextStore, indices: NDArray[np.int64]) -> TextStore:
    """Write into an empty folder the records of `source` at `indices`, in that order."""
    with (
        TextStoreWriter(folder, str(source.folder)) as writer,
        tqdm(total=len(indices), desc=f"storing {folder.name}", unit=" texts", disable=hidden(None)) as progress,
    ):
        for start in range(0, len(indices), WINDOW):
            # What a mapping has read stays in memory for as long as the mapping lives.
            window = TextStore(source.folder)
            for batch in range(start, min(start + WINDOW, len(indices)), BATCH):
                chosen = indices[batch : min(batch + BATCH, start + WINDOW)]
                writer.add(window.encoded_ids(chosen), window.encoded_texts(chosen))
                progress.update(len(chosen))
    return TextStore(folder)


def _encoded_id(id_: str) -> bytes:
    if not id_:
        raise ValueError("an empty id")
    return id_.encode()


def _unusable(source: str, batch: Sequence[tuple[str, str]], before: int) -> TasbError:
    found = ""
    for number, (id_, text) in enumerate(batch, before + 1):
        try:
            _encoded_id(id_)
            text.encode()
        except ValueError as error:
            reason = "a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
            found = f"record {number} (id {id_!r}): {reason}"
            break
    return TasbError(where=source, expected="records with an id, in UTF-8", found=found, do="fix or remove that record")


def _as_array(indices: Iterable[int] | NDArray[np.integer]) -> NDArray[np.integer]:
    return indices if isinstance(indices, np.ndarray) else np.fromiter(indices, np.int64)


class TextLookup:
    """Indices of the texts of a store that are not empty.

    Args:
        store: the texts.
    """

    def __init__(self, store: TextStore) -> None:
        self._store = store
        self._empty = store.without_text()

    def indices(self, ids: Sequence[str] | Spans) -> NDArray[np.int64]:
        """The index of each id, -1 where there is no text."""
        indices = self._store.indices(ids)
        # An index of -1 reads the last mark, and is -1 afterwards in any case.
        return np.where(self._empty[indices], -1, indices) if len(self._empty) else indices
