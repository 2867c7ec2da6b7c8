"""A run that is written query by query, so that an interrupted command can continue."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.resume import partial_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.reranking.rerank import RerankedQuery
    from pyserini_tasb.resume import PartialFile


DIGESTS = ("run", "topics", "passages", "model")


@contextlib.contextmanager
def partial_run(path: Path, tag: str, *, overwrite: bool = False, inputs: object = ()) -> Iterator[PartialRun]:
    """Yield a run to write query by query, or to go on with; no other process gets it meanwhile.

    Args:
        path: the path of the run; gzip if named `….gz`; `-` is standard output.
        tag: the run's last column.
        overwrite: replace a run at `path`, once the new one is complete.
        inputs: arguments that may be paths, or lists of them. The run is none of them.

    Raises:
        TasbError: something stands at `path`, nothing can be written there, or another process is at work.
    """
    with partial_file(path, overwrite=overwrite, inputs=inputs) as part:
        yield PartialRun(path, part, tag)


class PartialRun:
    """An unfinished TREC run, as `partial_run` yields it; a kill at any moment loses only the current query.

    Its methods raise a TasbError where the disk refuses.
    """

    def __init__(self, path: Path, part: PartialFile, tag: str) -> None:
        self._path, self._part, self._tag = path, part, tag

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
        queries = end = 0
        if self._part.size:
            self._require_same(about)
            with self._part.errors_explained(), self._part.path.open("rb") as left:
                queries, end = whole_queries(left, tops, self._tag)
        self._part.begin(about, end)
        return queries

    def append(self, query: RerankedQuery) -> None:
        """Write the next query; it is on disk afterwards."""
        self._part.append(run_lines(query.qid, query.docids, query.scores, self._tag))

    def finish(self) -> None:
        """All queries are written: put the run in its place."""
        if not self._path.name.endswith(".gz"):
            self._part.finish()
            return
        # Neither a file name nor a time in the header: same run, same bytes.
        with (
            self._part.path.open("rb") as part,
            self._part.replaced() as file,
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed,
        ):
            shutil.copyfileobj(part, compressed)

    def _require_same(self, about: Mapping[str, Any]) -> None:
        known = self._part.about
        differing = [
            f"not the same {name}" if name in DIGESTS else f"{name} {known.get(name)}, not {value}"
            for name, value in about.items()
            if known.get(name) != value
        ]
        if differing:
            sidecar = self._part.sidecar.name
            raise TasbError(
                where=str(self._part.path),
                expected=f"the output of an interrupted run of this command, with {sidecar}",
                found="; ".join(differing) if known else f"{sidecar} is missing or damaged",
                do=f"give the options of the first run, choose another {argument('output')}, or remove both files to "
                "start again",
            )


def run_lines(qid: str, docids: Sequence[str], scores: NDArray[np.float32], tag: str) -> bytes:
    """A query's lines `qid Q0 docid rank score tag`, the best first.

    Args:
        qid: the query.
        docids: the docids of the passages.
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
