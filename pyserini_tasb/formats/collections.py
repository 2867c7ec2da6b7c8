"""Collections of texts with ids, read strictly: TSV, Pyserini's and BEIR's JSONL, a Lucene index, a text store."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tqdm.auto import tqdm

from pyserini_tasb.artifacts import MANIFEST
from pyserini_tasb.environment.prebuilt_indexes import prebuilt_text_index
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.folders import kind_of_folder, listing
from pyserini_tasb.formats.readers import ReadCollection, reader_and_path
from pyserini_tasb.formats.records import LineStart, parse_json_record, parse_tsv_record, read_records
from pyserini_tasb.formats.text_store import WINDOW, RepeatedIdsError, TextStore, fill_text_store
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyserini_tasb.formats.readers import Reader
    from pyserini_tasb.results import StrPath


JSONL = (".jsonl", ".json")
RECORDS = (*JSONL, ".tsv", ".txt")

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


READERS: Registry[Callable[[Path], Collection]] = Registry(
    "reader of corpora",
    "corpus-readers",
    takes=("a path",),
    prepared=lambda name, reader: reader if name in ("lines", "lucene", "text-store") else partial(_read, name, reader),
)


def open_collection(path: Path) -> Collection:
    """The texts at `path`.

    * a file of TSV or JSONL, plain, gzip or Zstandard;
    * a folder in BEIR's layout: its `corpus.jsonl`;
    * any other folder with `.jsonl` or `.json` files, compressed or not: all of them, as Pyserini takes them;
    * a Lucene index that stores contents or raw JSON;
    * a text store;
    * none of these, but the name of a Lucene index that Pyserini knows, which is downloaded unless it is there;
    * `NAME:PATH`, for a reader of `READERS`.

    Text is what our encoders see: title and text joined by a space; `contents` with its line ends as spaces.

    Raises:
        TasbError: nothing of that kind is there. What is faulty inside is raised when it is read.
    """
    if named := reader_and_path(READERS, path):
        return READERS[named[0]](named[1])
    if not path.is_file() and not path.is_dir():
        path = _prebuilt(path)
    if (path / MANIFEST).is_file():
        return _store(path)
    if path.is_dir() and any(path.glob("segments_*")):
        return _lucene(path)
    return _lines(path)


@READERS.register("lines")
def _lines(path: Path) -> Collection:
    """TSV or JSONL: a file, or the files of a folder (Pyserini's and BEIR's layouts)."""
    if path.is_file():
        return LineCollection([path])
    files = sorted(file for file in path.rglob("*") if file.is_file() and _is_jsonl(file.name))
    # Beside it BEIR keeps queries.jsonl, which are no passages.
    corpus = [file for file in files if file.parent == path and _uncompressed(file.name) == "corpus.jsonl"]
    if not files:
        raise _no_collection(path, _none_of_these(path) if path.is_dir() else "no such file or folder")
    return LineCollection(corpus[:1] or files)


@READERS.register("lucene")
def _lucene(path: Path) -> Collection:
    """A Lucene index that stores contents or raw JSON."""
    from pyserini_tasb.formats.records import LuceneCollection

    return LuceneCollection(path)


@READERS.register("text-store")
def _store(path: Path) -> Collection:
    """The text store of a folder that `tasb pairs` made."""
    return StoredCollection(path)


def _read(name: str, reader: Reader, path: Path) -> Collection:
    return ReadCollection(name, reader, path)


class LineCollection:
    """Files with one record a line. Blank lines are no records; whether a file is JSONL is seen from its first line.

    Args:
        files: in the order in which they are read.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((id_, text) for _, id_, text in self.marked())

    def marked(self, start: Mark | None = None) -> Iterator[tuple[Mark, str, str]]:
        """Mark, id and text of every record from `start` on; a mark is [file, line, offset]."""
        first, *line = start or (0, *LineStart())
        for number, file in enumerate(self._files[first:], first):
            begin = LineStart(*line) if number == first else LineStart()
            for here, (id_, text) in read_records(file, parse_tsv_record, parse_json_record, begin):
                yield (number, *here), id_, text

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
        """All of them, in the order in which they are read."""
        return self._files


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
        TasbError: the collection cannot be read, or an id is there twice.
    """
    if isinstance(collection, StoredCollection):
        return collection.store
    try:
        return fill_text_store(folder, tqdm(collection, desc=source, unit=" texts", disable=None), source)
    except RepeatedIdsError as error:
        raise error.at(collection.places([record for repeat in error.repeats for record in repeat[1:]])) from None


def _prebuilt(name: Path) -> Path:
    if name.parent != Path() or _uncompressed(name.name).endswith(RECORDS):
        reader = f", and no reader `{str(name).partition(':')[0]}`" if ":" in str(name) else ""
        raise _no_collection(name, f"no such file or folder{reader}")
    try:
        return prebuilt_text_index(str(name))
    except LookupError as error:
        reader = f"; no reader has the name {str(name).partition(':')[0]}" if ":" in str(name) else ""
        raise _no_collection(name, f"no such file or folder, and {error}{reader}") from error


def _is_jsonl(name: str) -> bool:
    return _uncompressed(name).endswith(JSONL) and not name.startswith(".")


def _uncompressed(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".zst")


def _none_of_these(folder: Path) -> str:
    kind = kind_of_folder(folder)
    return f"{kind}, which has no texts" if kind else f"{listing(folder)}: none of these"


def _no_collection(path: Path, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected="a TSV or JSONL file, a folder of JSONL files, a Lucene index that stores text (its folder, or a "
        "name of Pyserini's), or a text store",
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


def read_documents(collection: Path) -> Iterator[Document]:
    """The documents of a collection, in its order.

    JSON has titles: the field `title`, or of `contents` the first line if more follow, as Anserini writes them. Where
    `contents` begin with the title, their text is the rest. TSV, Lucene indexes and text stores have none.

    Raises:
        TasbError: nothing to read, or faulty lines; all of a file's are named once it is read.
    """
    opened = open_collection(collection)
    if isinstance(opened, LineCollection):
        for file in opened.files():
            yield from (document for _, document in read_records(file, _parse_tsv, _parse_json))
    else:
        yield from (Document(docid, "", text) for docid, text in opened)


def _parse_tsv(line: str) -> Document:
    docid, text = parse_tsv_record(line)
    return Document(docid, "", text)


def _parse_json(line: str) -> Document:
    docid, whole = parse_json_record(line)  # which knows what can be wrong with a line
    record = json.loads(line)
    title = record.get("title") or ""
    if not title and "text" not in record:
        first, _, rest = (record["contents"] or "").strip().partition("\n")
        title = first if rest else ""
    title = title.strip() if isinstance(title, str) else ""
    return Document(docid, title, whole.removeprefix(title).strip())


def absolute_corpus(corpus: StrPath) -> str:
    """A corpus as another process finds it, in whatever folder that works."""
    if named := reader_and_path(READERS, os.fspath(corpus)):
        return f"{READERS.portable(named[0])}:{named[1].absolute()}"
    return str(Path(corpus).absolute())


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
