"""Readers of corpora and topics that others bring: `NAME:PATH` wherever a corpus or topics are named.

A reader is a function of a path that gives (id, text) for each passage or query, such as a generator. `NAME` is that of
a registered one, or `module:name`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.fields import require_id
from pyserini_tasb.formats.lines import visible_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyserini_tasb.registry import Registry

    Reader = Callable[[Path], Iterable[tuple[str, str]]]

_OF_A_MODULE = re.compile(r"([\w.]+:[\w.]+):(.+)")


def reader_and_path(readers: Registry[Any], source: str | Path) -> tuple[str, Path] | None:
    """The reader and the path that `NAME:PATH` names; None for anything else, and for a path that exists.

    Args:
        readers: the records.
        source: what the user gave.
    """
    text = str(source)
    if ":" not in text or os.path.exists(os.path.expanduser(text)):  # noqa: PTH110, PTH111 - pathlib raises for ~nobody
        return None
    name, _, path = text.partition(":")
    if name not in readers:
        found = _OF_A_MODULE.fullmatch(text)
        if not found:
            return None
        name, path = found[1], found[2]
    return name, Path(os.path.expanduser(path))  # noqa: PTH111


def read_with(name: str, reader: Reader, path: Path) -> Iterator[tuple[str, str]]:
    """The ids and texts that a reader gives.

    Args:
        name: the name of the reader, for messages.
        reader: the reader.
        path: what it reads.

    Raises:
        TasbError: it fails, or gives something else than ids and texts.
    """
    read = 0
    try:
        records = reader(path)
        for record in records.items() if isinstance(records, Mapping) else records:
            if isinstance(record, str) or not all(isinstance(part, str) for part in record):
                raise TypeError(f"{record!r}, not two strings")  # noqa: TRY301
            id_, text = map(str, record)
            require_id(id_)
            text.encode()
            yield id_, text
            read += 1
    except TasbError:
        raise
    except Exception as error:  # whatever an outside reader raises
        raise TasbError(
            where=f"{path}, after record {read:,}",
            expected=f"an id and a text for each record, from the reader `{name}`",
            found=f"{type(error).__name__}: {error}",
            do="fix the file, or the reader",
        ) from error


class ReadCollection:
    """The records that a reader gives, as a collection. To begin in the middle, all before is read again.

    Args:
        name: the name of the reader.
        reader: the reader.
        path: what it reads.

    Raises:
        TasbError: nothing is at the path.
    """

    def __init__(self, name: str, reader: Reader, path: Path) -> None:
        if not path.exists():
            raise TasbError(
                where=str(path),
                expected=f"what the reader `{name}` reads",
                found="no such file or folder",
                do="check the path",
            )
        self._name, self._reader, self._path = name, reader, path

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return read_with(self._name, self._reader, self._path)

    def marked(self, start: tuple[int, ...] | None = None) -> Iterator[tuple[tuple[int, ...], str, str]]:
        """Mark, id and text of every record from `start` on; a mark is the record's index."""
        (first,) = start or (0,)
        for index, (id_, text) in enumerate(itertools.islice(self, first, None), first):
            yield (index,), id_, text

    def place(self, mark: tuple[int, ...]) -> str:
        """The record's number, from 1: only the reader knows of lines."""
        return f"{self._path}, record {mark[0] + 1}"

    def places(self, records: Sequence[int]) -> list[str]:
        """The records' numbers."""
        return [self.place((record - 1,)) for record in records]

    def files(self) -> list[Path]:
        """The file, or all files of the folder but hidden ones."""
        return [self._path] if self._path.is_file() else visible_files(self._path)
