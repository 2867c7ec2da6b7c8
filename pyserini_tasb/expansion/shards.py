"""Expanded passages on disk: files that `pyserini.index.lucene` reads, and the folder where they gather."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import locked_folder, read_sidecar, whole_text_file, write_whole
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.expansion.predictions import QUERIES
from pyserini_tasb.outputs import replace_folder, require_new_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


# Anserini would take a JSON file in the folder of passages for one of them.
PASSAGES, ABOUT, PLAN = "passages", "about.json", "corpus.json"
FILES = ("[0-9][0-9][0-9][0-9][0-9][0-9].jsonl",)  # in the folder of passages
_ADVICE = "check the folder, its permissions and the space on the disk"


def shard_path(folder: Path, number: int) -> Path:
    """The file of a folder's shard, counted from 0."""
    return folder / f"{number:06}.jsonl"


def write_shard(path: Path, passages: Iterable[tuple[str, str, str]]) -> int:
    """Write a file of passages, which is there once all of it is on disk; the number of passages.

    Args:
        path: the file.
        passages: docid, text, and the predicted queries joined by spaces.

    Raises:
        TasbError: it cannot be written.
    """
    count = 0
    with whole_text_file(path) as out:
        for docid, text, queries in passages:
            contents = f"{text} {queries}".strip()
            out.write(json.dumps({"id": docid, "contents": contents}, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_queries(path: Path, predicted: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Write a file of predicted queries by themselves, in the form in which docTTTTTquery's authors publish them.

    Args:
        path: the file, which is there once all of it is on disk.
        predicted: docid and queries.

    Raises:
        TasbError: it cannot be written.
    """
    with whole_text_file(path) as out:
        for docid, queries in predicted:
            out.write(json.dumps({"id": docid, QUERIES: list(queries)}, ensure_ascii=False) + "\n")


@dataclass
class QueryCounts:
    """How many queries the passages got.

    Args:
        passages: the passages.
        queries: the queries of all of them.
        fewest: the queries of the passage with the fewest.
        most: the queries of the passage with the most.
        without: passages that got none.
        unit: what was counted: queries, or lines of queries.
    """

    passages: int = 0
    queries: int = 0
    fewest: int = 0
    most: int = 0
    without: int = 0
    unit: str = "queries"

    def add(self, count: int) -> None:
        """Count a passage with so many queries."""
        self.fewest = min(self.fewest, count) if self.passages else count
        self.most = max(self.most, count)
        self.passages += 1
        self.queries += count
        self.without += not count

    def __str__(self) -> str:
        each = f"{self.fewest:,}" if self.fewest == self.most else f"{self.fewest:,} to {self.most:,}"
        none = f", {self.without:,} of them none" if self.without and self.most else ""
        return f"each got {each} {self.unit}{none}, {self.queries:,} in all"


@contextlib.contextmanager
def work_folder(output: Path, *, overwrite: bool = False) -> Iterator[WorkFolder]:
    """The work folder of an output, as an earlier try left it or new; without a finished part it is gone afterwards.

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    output = output.absolute()
    folder = output.with_name(f"{output.name}.work")
    with locked_folder(folder):
        work = WorkFolder(folder, output, overwrite=overwrite)
        try:
            yield work
        finally:
            if not work.has_parts:
                shutil.rmtree(folder, ignore_errors=True)


class WorkFolder:
    """A folder of one expansion, which one process is at work in.

    Attributes:
        passages: folder of the finished parts.
        plan: file of the collection's plan.

    Args:
        folder: the shard itself, which exists.
        output: what it becomes.
        overwrite: replace expanded passages at `output`.
    """

    def __init__(self, folder: Path, output: Path, *, overwrite: bool = False) -> None:
        self._folder, self._output, self._overwrite = folder, output, overwrite
        self.passages, self.plan = folder / PASSAGES, folder / PLAN
        with os_errors_explained(folder, expected="a folder that can be written to", do=_ADVICE):
            self.passages.mkdir(exist_ok=True)
            for path in (*folder.glob("*.part"), *self.passages.glob("*.part")):
                path.unlink()  # of a process that was killed while it wrote

    def require_about(self, about: Mapping[str, object]) -> None:
        """Say what the parts are of; refuse to go on with parts of something else.

        Args:
            about: all that decides what is written; values that JSON can hold.

        Raises:
            TasbError: naming what differs; nothing was changed.
        """
        path = self._folder / ABOUT
        known = read_sidecar(path)
        if not self.has_parts:
            write_whole(path, json.dumps(about, indent=1) + "\n")
            return
        differences = [name for name, value in about.items() if known.get(name) != value]
        if differences:
            raise TasbError(
                where=str(self._folder),
                expected=f"a new {argument('output')}, or the command that was interrupted",
                found=f"passages with another {', '.join(differences)}",
                do=f"repeat the same command, remove this folder, or choose another {argument('output')}",
            )

    @property
    def has_parts(self) -> bool:
        """True if there is something to go on from."""
        return self.passages.is_dir() and any(self.passages.iterdir())

    def missing(self, parts: int) -> list[int]:
        """Numbers of those that are not finished, of so many."""
        return [number for number in range(parts) if not shard_path(self.passages, number).is_file()]

    def publish(self) -> None:
        """Make of the parts, all of them finished, the output.

        Raises:
            TasbError: something has come there meanwhile, or the disk refuses.
        """
        require_new_folder(self._output, overwrite=self._overwrite, made=FILES)
        with os_errors_explained(self._output, expected="a folder that can be written to", do=_ADVICE):
            replace_folder(self.passages, self._output)
