"""Collections of texts with ids, read strictly: TSV, Pyserini's and BEIR's JSONL, a Lucene index, a text store."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tqdm.auto import tqdm

from pyserini_tasb.bars import hidden
from pyserini_tasb.environment.prebuilt_indexes import prebuilt_text_index
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.folders import MANIFEST, kind_of_folder, listing
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.lines import compression, note_header, visible_files, without_compression
from pyserini_tasb.formats.readers import ReadCollection, reader_and_path
from pyserini_tasb.formats.records import LineStart, read_records, record_starts
from pyserini_tasb.formats.remote import is_url, path_of
from pyserini_tasb.formats.text_store import WINDOW, RepeatedIdsError, TextStore, fill_text_store
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyserini_tasb.formats.fields import Row
    from pyserini_tasb.formats.readers import Reader
    from pyserini_tasb.results import StrPath


# The kinds of files that are read out of folders, by the endings of their names.
KINDS = {"JSONL": (".jsonl", ".json"), "TSV": (".tsv",)}
RECORDS = (*KINDS["JSONL"], *KINDS["TSV"], ".txt")

# Where a record begins, as its collection counts; a tuple of integers.
Mark = tuple[int, ...]


class Collection(Protocol):
    """Texts with ids, in a fixed order; iterating gives (id, text) and raises TasbError for what cannot be read."""

    def __iter__(self) -> Iterator[tuple[str, str]]: ...

    def marked(self, start: Mark | None = None) -> Iterator[tuple[Mark, str, str]]:
        """The same with the mark of every record; from the one at `start` on, without reading those before it."""

    def place(self, mark: Mark) -> str:
        """Where a record is: `file:line`, or whatever leads to it."""

    def places(self, records: Sequence[int]) -> list[str]:
        """Where records are, counted from 1."""

    def files(self) -> list[Path]:
        """Files whose size or time of change is another once the collection is."""


# The readers of this package: each takes `Fields` as well.
OURS = ("lines", "lucene", "text-store")
READERS: Registry[Callable[..., Collection]] = Registry(
    "reader of corpora",
    "corpus-readers",
    takes=("a path",),
    prepared=lambda name, reader: reader if name in OURS else partial(_read, name, reader),
)


def open_collection(path: Path, fields: Fields = Fields()) -> Collection:  # noqa: B008 - immutable
    """The texts at `path`.

    * a file of TSV or JSONL, plain or compressed (gzip, bzip2, xz, Zstandard);
    * a folder in BEIR's layout: its `corpus.jsonl`;
    * any other folder with `.jsonl` or `.json` files, or with `.tsv` files, compressed or not: all of them, as Pyserini
      takes them, without hidden ones;
    * a Lucene index that stores contents or raw JSON;
    * a text store;
    * the name of a prebuilt Lucene index of Pyserini, which is downloaded if it is missing;
    * `NAME:PATH`, for a reader of `READERS`.

    Text is what our encoders see: title and text joined by a space; `contents` with its line ends as spaces.

    Args:
        path: the path.
        fields: other fields of JSONL, of a TSV with a header, or of a Lucene index's raw JSON.

    Raises:
        TasbError: the path has no such collection, or it has no fields by name. Faulty records raise when read.
    """
    if named := reader_and_path(READERS, path):
        name, source = named
        if name in OURS:
            return READERS[name](source, fields)
        if fields.given:
            raise _without_fields(path, f"the reader `{name}`, which gives docids and texts itself")
        return READERS[name](source)
    if not path.is_file() and not path.is_dir():
        path = _prebuilt(path)
    if (path / MANIFEST).is_file():
        return _store(path, fields)
    if path.is_dir() and any(path.glob("segments_*")):
        return _lucene(path, fields)
    return _lines(path, fields)


@READERS.register("lines")
def _lines(path: Path, fields: Fields = Fields()) -> Collection:  # noqa: B008 - immutable
    """TSV or JSONL: a file, or the files of a folder (Pyserini's and BEIR's layouts)."""
    if path.is_file():
        return LineCollection([path], fields)
    files = visible_files(path) if path.is_dir() else []
    # Beside it BEIR keeps queries.jsonl, which are no passages.
    corpus = [file for file in files if file.parent == path and without_compression(file.name) == "corpus.jsonl"]
    if corpus:
        return LineCollection(corpus[:1], fields)
    by_kind = {
        kind: of_kind
        for kind, endings in KINDS.items()
        if (of_kind := [file for file in files if without_compression(file.name).endswith(endings)])
    }
    if not by_kind:
        raise _no_collection(path, _none_of_these(path) if path.is_dir() else "no such file or folder")
    if len(by_kind) > 1:
        shown = " and ".join(f"{of_kind[0].relative_to(path)} ({kind})" for kind, of_kind in by_kind.items())
        raise TasbError(
            where=str(path),
            expected="a folder with files of one kind, JSONL or TSV",
            found=f"both: {shown}",
            do="give the file or the folder that has the passages",
        )
    (of_kind,) = by_kind.values()
    return LineCollection(of_kind, fields)


@READERS.register("lucene")
def _lucene(path: Path, fields: Fields = Fields()) -> Collection:  # noqa: B008 - immutable
    """A Lucene index that stores contents or raw JSON."""
    from pyserini_tasb.formats.records import LuceneCollection

    return LuceneCollection(path, fields)


@READERS.register("text-store")
def _store(path: Path, fields: Fields = Fields()) -> Collection:  # noqa: B008 - immutable
    """The text store of a folder that `tasb pairs` made."""
    if fields.given:
        raise _without_fields(path, "a text store, which has only docids and texts")
    return StoredCollection(path)


def _without_fields(path: Path, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected=f"JSONL, TSV with a header, or a Lucene index for {argument('fields')} and {argument('docid_field')}",
        found=found,
        do="leave them out",
    )


def _read(name: str, reader: Reader, path: Path) -> Collection:
    return ReadCollection(name, reader, path)


class LineCollection:
    """Files with one record a line. Blank lines are no records; whether a file is JSONL is seen from its first line.

    Args:
        files: the paths, in reading order.
        fields: the fields of the docid and the text.
    """

    def __init__(self, files: Sequence[Path], fields: Fields = Fields()) -> None:  # noqa: B008 - immutable
        self._files, self._fields = list(files), fields
        self._headers: set[Path] = set()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((id_, text) for _, id_, text in self.marked())

    def marked(self, start: Mark | None = None) -> Iterator[tuple[Mark, str, str]]:
        """Mark, id and text of every record from `start` on; a mark is [file, line, offset]."""
        first, *line = start or (0, *LineStart())
        for number, file in enumerate(self._files[first:], first):
            begin = LineStart(*line) if number == first else LineStart()
            records = read_records(file, self._fields.id_and_text, self._fields, begin, self._note_header)
            for here, (id_, text) in records:
                yield (number, *here), id_, text

    def documents(self) -> Iterator[Document]:
        """The documents, with their titles; see `documents_of`."""
        for file in self._files:
            records = read_records(file, partial(_document, self._fields), self._fields, on_header=self._note_header)
            yield from (document for _, document in records)

    def place(self, mark: Mark) -> str:
        """`file:line`."""
        number, line, _ = mark
        return f"{self._files[number]}:{line}"

    def places(self, records: Sequence[int]) -> list[str]:
        """`file:line` of records, counted from 1; reads the files up to the last of them."""
        wanted = set(records)
        found = {
            record: self.place(mark)
            for record, (mark, _, _) in enumerate(itertools.islice(self.marked(), max(wanted, default=0)), 1)
            if record in wanted
        }
        return [found[record] for record in records]

    def files(self) -> list[Path]:
        """All of them, the paths, in reading order."""
        return self._files

    def starts(self) -> Iterator[Mark]:
        """The mark of every record of plain files, faulty ones included; see `record_starts`.

        Raises:
            TasbError: a file cannot be read, or does not name its columns, where fields are asked for.
        """
        for number, file in enumerate(self._files):
            with os_errors_explained(file, expected="a file of the corpus", do="check the path"):
                for here in record_starts(file, self._fields, self._note_header):
                    yield number, *here

    def is_plain(self) -> bool:
        """True if all files lie on this machine and none is compressed: a mark's line is then found at once.

        Raises:
            TasbError: a file cannot be read.
        """
        for file in self._files:
            with os_errors_explained(file, expected="a file of the corpus", do="check the path"):
                if not isinstance(file, Path) or compression(file):
                    return False
        return True

    def _note_header(self, path: Path, number: int, columns: Sequence[str]) -> None:
        if path not in self._headers:  # a collection is read several times
            self._headers.add(path)
            note_header(path, number, columns)


class StoredCollection:
    """A text store as a collection.

    Args:
        folder: the store.

    Raises:
        TasbError: not a text store.
    """

    def __init__(self, folder: Path) -> None:
        self.store = TextStore(folder)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.store)

    def marked(self, start: Mark | None = None) -> Iterator[tuple[Mark, str, str]]:
        """Mark, id and text of every record from `start` on; a mark is the record's index."""
        (first,) = start or (0,)
        for begin in range(first, len(self.store), WINDOW):
            # What a mapping has read stays in memory for as long as the mapping lives.
            window = TextStore(self.store.folder).records(begin, min(begin + WINDOW, len(self.store)))
            for index, (id_, text) in enumerate(window, begin):
                yield (index,), id_, text

    def place(self, mark: Mark) -> str:
        """The record's number, from 1: a store has no lines."""
        return f"record {mark[0] + 1}"

    def places(self, records: Sequence[int]) -> list[str]:
        """The records' numbers."""
        return [self.place((record - 1,)) for record in records]

    def files(self) -> list[Path]:
        """The store's manifest, which has the others' checksums."""
        return [self.store.folder / MANIFEST]


def store_collection(folder: Path, collection: Collection, source: str) -> TextStore:
    """All texts of a collection in a text store, written into an empty folder unless they are in one already.

    Args:
        folder: an empty folder.
        collection: the texts.
        source: what they are, for messages.

    Raises:
        TasbError: the collection cannot be read, or it has an id twice.
    """
    if isinstance(collection, StoredCollection):
        return collection.store
    try:
        return fill_text_store(
            folder, tqdm(collection, desc=f"reading {source}", unit=" texts", disable=hidden(None)), source
        )
    except RepeatedIdsError as error:
        raise error.at(collection.places([record for repeat in error.repeats for record in repeat[1:]])) from None


def _prebuilt(name: Path) -> Path:
    if name.parent != Path() or without_compression(name.name).endswith(RECORDS):
        reader = f", and no reader `{str(name).partition(':')[0]}`" if ":" in str(name) else ""
        raise _no_collection(name, f"no such file or folder{reader}")
    try:
        return prebuilt_text_index(str(name))
    except LookupError as error:
        reader = f"; no reader has the name {str(name).partition(':')[0]}" if ":" in str(name) else ""
        raise _no_collection(name, f"no such file or folder, and {error}{reader}") from error


def _none_of_these(folder: Path) -> str:
    kind = kind_of_folder(folder)
    return f"{kind}, which has no texts" if kind else f"{listing(folder)}, with none of these in it"


def _no_collection(path: Path, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected="a TSV or JSONL file, a folder of TSV or JSONL files, a Lucene index that stores text (its folder, or "
        "a name of Pyserini's), or a text store",
        found=found,
        do="check the path",
    )


@dataclass(frozen=True)
class Document:
    """One document of a collection.

    Args:
        docid: its id.
        title: empty where it has none.
        text: all but the title.
    """

    docid: str
    title: str
    text: str


def documents_of(collection: Collection) -> Iterator[Document]:
    """The documents of a collection, in its order.

    JSON has titles: the field `title`, or of `contents` the first line if more follow, as Anserini writes them. Where
    `contents` begin with the title, their text is the rest. Where fields were named, the title is the one called
    `title`, or else the first of several. A TSV without a header, Lucene indexes and text stores have none.

    Raises:
        TasbError: faulty lines; all of a file's are named once it is read.
    """
    if isinstance(collection, LineCollection):
        return collection.documents()
    return (Document(docid, "", text) for docid, text in collection)


def _document(fields: Fields, row: Row) -> Document:
    docid, whole = fields.id_and_text(row)  # which knows what can be wrong with a record
    if fields.names:
        values = fields.values(row)
        at = fields.names.index("title") if "title" in fields.names else 0
        title = values.pop(at) if len(values) > 1 or fields.names == ("title",) else ""
        return Document(docid, title, " ".join(filter(None, values)))
    title = row.get("title") or ""
    if not title and "text" not in row:
        first, _, rest = (row.get("contents") or "").strip().partition("\n")
        title = first if rest else ""
    title = title.strip() if isinstance(title, str) else ""
    return Document(docid, title, whole.removeprefix(title).strip())


def absolute_corpus(corpus: StrPath) -> str:
    """A corpus as another process finds it, in whatever folder that works."""
    if is_url(os.fspath(corpus)):
        return os.fspath(corpus)
    if named := reader_and_path(READERS, os.fspath(corpus)):
        return f"{READERS.portable(named[0])}:{named[1].absolute()}"
    return str(Path(corpus).absolute())


def _open(path: str, fields: Fields) -> Collection:
    if not is_url(path):
        return open_collection(Path(path), fields)
    remote = path_of(path)
    with os_errors_explained(remote, expected="a file or folder that can be read", do="check the URL and your access"):
        return _lines(remote, fields)


class Corpus:
    """Passages with docids, in a fixed order.

    Args:
        paths: each what `open_collection` takes, or the URL of a file or a folder of TSV or JSONL.
        fields: the fields of the docid and the text, in each of them.

    Attributes:
        paths, fields: as they were given.

    Raises:
        TasbError: a path has no collection, or one without fields by name.
    """

    def __init__(self, paths: Sequence[str], fields: Fields = Fields()) -> None:  # noqa: B008 - immutable
        self.paths, self.fields = tuple(paths), fields
        self._collections = [_open(path, fields) for path in paths]

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

    def begins_anywhere(self) -> bool:
        """True if it can be read from any mark on without what comes before: plain files here, and text stores.

        Raises:
            TasbError: a file cannot be read.
        """
        return all(
            isinstance(each, StoredCollection) or (isinstance(each, LineCollection) and each.is_plain())
            for each in self._collections
        )

    def unit_starts(self, unit_size: int) -> Iterator[Mark]:
        """The mark of each unit's first passage, if all is well with all passages; see `LineCollection.starts`.

        Nothing where only reading a corpus tells: it is compressed, on another machine, or no files of lines.

        Args:
            unit_size: passages of each unit.

        Raises:
            TasbError: see `LineCollection.starts`.
        """
        collections = [each for each in self._collections if isinstance(each, LineCollection) and each.is_plain()]
        if len(collections) == len(self._collections):
            marks = ((number, *mark) for number, each in enumerate(collections) for mark in each.starts())
            yield from itertools.islice(marks, 0, None, unit_size)

    def place(self, mark: Mark) -> str:
        """Where a passage is: `file:line`, or whatever leads to it."""
        number, *within = mark
        return self._collections[number].place(tuple(within))

    def state(self) -> list[list[str | int]]:
        """Path, size and time of change of every file, and the fields that were named: what decides the passages.

        Raises:
            TasbError: a file is gone.
        """
        state: list[list[str | int]] = []
        for collection in self._collections:
            for path in collection.files():
                with os_errors_explained(path, expected="a file of the corpus", do="check the path"):
                    status = path.stat()
                state.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
        if self.fields.given:
            state.append(["fields", *self.fields.names, "docid", self.fields.docid or ""])
        return state
