"""Collections of texts with ids, read strictly: TSV, Pyserini's and BEIR's JSONL, a Lucene index, a text store."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.texts.manifest import MANIFEST
from pyserini_tasb.texts.records import parse_json_record, parse_tsv_record, read_records
from pyserini_tasb.texts.text_store import TextStore, fill_text_store
from pyserini_tasb.texts.text_writer import RepeatedIdsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Collection(Protocol):
    """Texts with ids, in a fixed order; iterating gives (id, text) and raises TasbError for what cannot be read."""

    def __iter__(self) -> Iterator[tuple[str, str]]: ...

    def places(self, records: Sequence[int]) -> list[str]:
        """Where records are, counted from 1: `file:line`, or whatever leads to them."""


def open_collection(path: Path) -> Collection:
    """The texts at `path`.

    * a file of TSV or JSONL, plain or gzip;
    * a folder in BEIR's layout: its `corpus.jsonl`;
    * any other folder with `.jsonl` or `.json` files, plain or gzip: all of them, as Pyserini takes them;
    * a Lucene index that stores contents or raw JSON;
    * a text store.

    Text is what our encoders see: title and text joined by a space; `contents` with its line ends as spaces.

    Raises:
        TasbError: nothing of that kind is there. What is faulty inside is raised when it is read.
    """
    if path.is_file():
        return LineCollection([path])
    if not path.is_dir():
        raise _no_collection(path, "no such file or folder")
    if (path / MANIFEST).is_file():
        return StoredCollection(path)
    if any(path.glob("segments_*")):
        from pyserini_tasb.texts.lucene_collection import LuceneCollection

        return LuceneCollection(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and _is_jsonl(file.name))
    # Beside it BEIR keeps queries.jsonl, which are no passages.
    corpus = [file for file in files if file.parent == path and file.name.removesuffix(".gz") == "corpus.jsonl"]
    if not files:
        raise _no_collection(path, "a folder with none of these in it")
    return LineCollection(corpus[:1] or files)


class LineCollection:
    """Files with one record a line. Blank lines are no records; whether a file is JSONL is seen from its first line.

    Args:
        files: in the order in which they are read.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((id_, text) for _, _, id_, text in self._records())

    def places(self, records: Sequence[int]) -> list[str]:
        """`file:line` of records, counted from 1; reads the files up to the last of them."""
        wanted = set(records)
        found = {
            record: f"{file}:{line}"
            for record, (file, line, _, _) in enumerate(itertools.islice(self._records(), max(wanted, default=0)), 1)
            if record in wanted
        }
        return [found[record] for record in records]

    def _records(self) -> Iterator[tuple[Path, int, str, str]]:
        for file in self.files:
            for number, (id_, text) in read_records(file, parse_tsv_record, parse_json_record):
                yield file, number, id_, text


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

    def places(self, records: Sequence[int]) -> list[str]:
        """The records' numbers: a store has no lines."""
        return [f"record {record}" for record in records]


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


def _is_jsonl(name: str) -> bool:
    return name.removesuffix(".gz").endswith((".jsonl", ".json")) and not name.startswith(".")


def _no_collection(path: Path, found: str) -> TasbError:
    return TasbError(
        where=str(path),
        expected="a TSV or JSONL file, a folder of JSONL files, a Lucene index that stores text, or a text store",
        found=found,
        do="check the path",
    )
