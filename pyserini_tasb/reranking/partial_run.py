"""A run that is written query by query, so that an interrupted command can go on where it stopped."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from pyserini_tasb.artifacts import lock_file, read_sidecar, whole_file
from pyserini_tasb.errors import TasbError, argument, os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.reranking.rerank import RerankedQuery


DIGESTS = ("run", "topics", "passages", "model")


class PartialRun:
    """A TREC run in the making; a context manager that keeps other processes out.

    Finished queries are in `PATH.part`, and `PATH.part.json` says what they are of. A kill at any moment loses the
    query at hand and no other.

    Args:
        path: of the run; gzip if named `….gz`.
        tag: the run's last column.
        overwrite: replace a run at `path`, once the new one is complete.

    Raises:
        TasbError: on entering: something stands at `path`, nothing can be written there, or another process is at work.
    """

    def __init__(self, path: Path, tag: str, *, overwrite: bool = False) -> None:
        self._path, self._tag, self._overwrite = path, tag, overwrite
        self._part, self._sidecar = (path.with_name(path.name + suffix) for suffix in (".part", ".part.json"))
        self._opened = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> Self:
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened.enter_context(lock_file(self._path.with_name(f"{self._path.name}.lock")))
        with ExitStack() as unless_entered:
            unless_entered.callback(self._opened.close)
            with self._explained():
                if not self._part.exists():  # an earlier try was killed when it had done all but this
                    self._sidecar.unlink(missing_ok=True)
            self._refuse_occupied()
            unless_entered.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._explained():  # on a full disk, what is still to be written fails here again
            self._opened.close()

    def resume(self, about: Mapping[str, Any], tops: Mapping[str, Sequence[str]]) -> int:
        """Go on with what an interrupted process left, if it left anything.

        Args:
            about: all that decides what the lines are; values that JSON can hold.
            tops: qid → docids of the whole run, in its order.

        Returns:
            How many queries are finished, counted from the first.

        Raises:
            TasbError: what is left is of something else, or cannot be read.
        """
        with self._explained():
            if self._part.exists() and self._part.stat().st_size:
                self._require_same(about)
            else:
                self._write_sidecar(about)
            self._file = self._opened.enter_context(self._part.open("ab"))
            with self._part.open("rb") as left:
                queries, end = whole_queries(left, tops, self._tag)
            self._file.truncate(end)
        return queries

    def append(self, query: RerankedQuery) -> None:
        """Write the next query; it is on disk afterwards.

        Raises:
            TasbError: the disk refuses.
        """
        with self._explained():
            self._file.write(run_lines(query.qid, query.docids, query.scores, self._tag))
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self) -> None:
        """All queries are written: put the run in its place.

        Raises:
            TasbError: the disk refuses.
        """
        with self._explained():
            if self._path.name.endswith(".gz"):
                # Neither a file name nor a time in the header: same run, same bytes.
                with (
                    self._part.open("rb") as part,
                    whole_file(self._path) as file,
                    gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed,
                ):
                    shutil.copyfileobj(part, compressed)
                self._part.unlink()
            else:
                self._part.replace(self._path)
            self._sidecar.unlink()

    def _write_sidecar(self, about: Mapping[str, Any]) -> None:
        # Not beside, then renamed: half of it does no harm while there is no query yet.
        with self._sidecar.open("w", encoding="utf-8") as file:
            file.write(json.dumps(about, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _explained(self) -> AbstractContextManager[None]:
        advice = "check the folder, its permissions and the space on the disk; the same command then goes on"
        return os_errors_explained(self._path, expected="a file that can be written", do=advice)

    def _refuse_occupied(self) -> None:
        if self._path.exists() and not (self._overwrite and self._path.is_file()):
            raise TasbError(
                where=str(self._path),
                expected="a new file",
                found="something is there already" if self._path.is_file() else "something that is no file",
                do=f"choose another {argument('output')}, or add {argument('overwrite', True)} to replace a file",
            )

    def _require_same(self, about: Mapping[str, Any]) -> None:
        known = read_sidecar(self._sidecar)
        differing = [
            f"not the same {name}" if name in DIGESTS else f"{name} {known.get(name)}, not {value}"
            for name, value in about.items()
            if known.get(name) != value
        ]
        if differing:
            raise TasbError(
                where=str(self._part),
                expected=f"what an interrupted try at this same command left, as {self._sidecar.name} says",
                found="; ".join(differing) if known else f"{self._sidecar.name} is missing or damaged",
                do=f"give the options it was begun with, choose another {argument('output')}, or remove both files to "
                "begin anew",
            )


def run_lines(qid: str, docids: Sequence[str], scores: NDArray[np.float32], tag: str) -> bytes:
    """A query's lines `qid Q0 docid rank score tag`, the best first.

    Args:
        qid: the query.
        docids: of the passages.
        scores: [passages]; printed with the fewest digits that read back as the same fp32 number.
        tag: the last column.
    """
    ranked = enumerate(zip(docids, scores, strict=True), 1)
    return "".join(f"{qid} Q0 {docid} {rank} {score!s} {tag}\n" for rank, (docid, score) in ranked).encode()


def whole_queries(file: BinaryIO, tops: Mapping[str, Sequence[str]], tag: str) -> tuple[int, int]:
    """How many queries from the first on are whole, and at which byte the last of them ends.

    Args:
        file: what was written so far.
        tops: qid → docids, in the order in which they are written.
        tag: the last column.
    """
    queries = end = 0
    for qid, docids in tops.items():
        lines = list(itertools.islice(file, len(docids)))
        if not _is_whole(lines, qid, docids, tag):
            break
        queries, end = queries + 1, end + sum(map(len, lines))
    return queries, end


def _is_whole(lines: Sequence[bytes], qid: str, docids: Sequence[str], tag: str) -> bool:
    columns = [line.split(b" ") for line in lines]
    try:
        found = [docid.decode() for _, _, docid, _, _, _ in columns]
        scores = np.array([float(score) for _, _, _, _, score, _ in columns], dtype=np.float32)
    except ValueError:  # the disk lost power
        return False
    return sorted(found) == sorted(docids) and b"".join(lines) == run_lines(qid, found, scores, tag)


def text_digests(
    written: Mapping[str, Sequence[str]],
    tops: Mapping[str, Sequence[str]],
    topics: Mapping[str, str],
    passages: Mapping[str, str],
) -> dict[str, Any]:
    """The digests that tell one re-ranking from another: of what is written and scored, and of nothing else.

    Args:
        written: qid → docids, down to the last that is kept.
        tops: qid → docids, as they are scored.
        topics: qid → text.
        passages: docid → text.
    """
    docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
    return {
        "run": _digest(written.items()),
        "topics": _digest(topics[qid] for qid in tops),
        "passages": _digest(passages[docid] for docid in docids),
    }


def _digest(records: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record).encode() + b"\n")
    return digest.hexdigest()
