"""Runs: reading TREC's six columns or MS MARCO's three, writing in the order trec_eval ranks, and others' objects."""

from __future__ import annotations

import gzip
import math
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar, cast

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import ASCII_SPACE, FAULTS_SHOWN, LineFaults, columns_of, open_lines, read_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def ranked_docids(ranking: Mapping[str, float]) -> list[str]:
    """Docids, best first: by score in fp32 and then docid, both descending.

    Args:
        ranking: docid → score, in any order.
    """
    with np.errstate(over="ignore"):  # what fp32 cannot hold is infinite to trec_eval, too
        scores = np.fromiter(ranking.values(), np.float64, len(ranking)).astype(np.float32)
    return [docid for _, docid in sorted(zip(scores.tolist(), ranking, strict=True), reverse=True)]


# --------
# Runs in TREC's six columns: reading, and writing in the order trec_eval ranks.

RunDict: TypeAlias = dict[str, dict[str, float]]
"""qid → docid → score, in the file's order. What ranks is the score alone."""

Value = TypeVar("Value")

_WRONG_COLUMNS = {
    3: " (an MS MARCO run? `python -m pyserini.eval.convert_msmarco_run_to_trec_run` makes a TREC run of it)",
    4: " (qrels?)",
    7: " (white space in a docid or in the tag?)",
}


def read_run(path: Path) -> RunDict:
    """Read a run, plain or gzip. Ids stay strings; the rank column is ignored, as trec_eval does.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not six columns, a score that is no
            finite number, a document twice for one query, not UTF-8. All are named.
    """
    run: RunDict = {}
    faults = LineFaults(path, expected="6 columns: qid Q0 docid rank score tag")
    qid_before = None
    ranking: dict[str, float] = {}
    with open_lines(path) as lines:
        # A dev run has 7 million lines, so what is wrong with a line is worked out only once something is.
        for number, line in enumerate(lines, 1):
            try:
                qid, _, docid, _, score_text, _ = columns_of(line)
                score = float(score_text)
            except ValueError:
                if line.strip(ASCII_SPACE):
                    faults.add(number, _what_is_wrong(line))
                continue
            if qid != qid_before:
                ranking = run.setdefault(qid, {})
                qid_before = qid
            if docid in ranking:
                faults.add(number, f"document {docid} a second time for query {qid}")
            elif not math.isfinite(score) or "_" in score_text:  # float() takes 1_0 for 10
                faults.add(number, _what_is_wrong(line))
            else:
                ranking[docid] = score
    faults.finish(records=len(run))
    return run


def _what_is_wrong(line: str) -> str:
    try:
        columns = columns_of(line)
    except ValueError as error:
        return str(error)
    if len(columns) != 6:
        return f"{len(columns)} columns{_WRONG_COLUMNS.get(len(columns), '')}"
    return f"score {columns[4]!r} is not a finite number"


def without_own_documents(by_query: dict[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
    """A run or qrels without each query's own document, which is the one whose docid is the query's id.

    Args:
        by_query: qid → docid → score or grade. All queries stay, even with no document left.
    """
    return {
        qid: {docid: value for docid, value in of_query.items() if docid != qid} if qid in of_query else of_query
        for qid, of_query in by_query.items()
    }


def write_run(path: Path, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    """Write a run: queries in the order given, each by score and then docid, both descending; gzip if named `….gz`.

    The same run gives the same bytes, and scores read back are equal to those written (float64). `path` is replaced
    only once everything is on disk. (trec_eval keeps scores as float32: those that differ by less are ties to it.)

    Args:
        path: the file; its folder must exist.
        run: qid → docid → score.
        tag: the last column.

    Raises:
        TasbError: an id or the tag is empty or has white space in it, a score is not finite, there is nothing to
            write, or the disk refuses. Whatever stood at `path` before is still there.
    """
    _require_writable(path, run, tag)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            if path.name.endswith(".gz"):
                # Neither a file name nor a time in the header: same run, same bytes.
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed:
                    cast("BinaryIO", compressed).writelines(_lines_of(run, tag))
            else:
                file.writelines(_lines_of(run, tag))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise TasbError(
            where=str(path), expected="a file that can be written", found=str(error), do="check the folder and the disk"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _lines_of(run: Mapping[str, Mapping[str, float]], tag: str) -> Iterator[bytes]:
    for qid, ranking in run.items():
        by_score = sorted(((float(score), docid) for docid, score in ranking.items()), reverse=True)
        for rank, (score, docid) in enumerate(by_score, 1):
            yield f"{qid} Q0 {docid} {rank} {score!r} {tag}\n".encode()


def _require_writable(path: Path, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    found = [] if _is_one_column(tag) else [f"tag {tag!r}"]
    for qid, ranking in run.items():
        if not _is_one_column(qid):
            found.append(f"qid {qid!r}")
        for docid, score in ranking.items():
            if not _is_one_column(docid):
                found.append(f"docid {docid!r} of query {qid}")
            if not math.isfinite(score):
                found.append(f"score {score} of query {qid}, document {docid}")
    if not any(run.values()):
        found.append("not one document")
    if found:
        raise TasbError(
            where=f"{path} (not written)",
            expected="ids and a tag without white space, and finite scores",
            found="; ".join(found[:FAULTS_SHOWN]) + ("; …" if len(found) > FAULTS_SHOWN else ""),
            do="mend what made this run",
        )


def _is_one_column(text: str) -> bool:
    try:
        return columns_of(text) == [text]
    except ValueError:
        return False


# --------
# Runs in MS MARCO's three columns, which have ranks and no scores.

_RANK = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def read_msmarco_run(path: Path) -> RunDict:
    """Read a run of `qid docid rank` lines; a document's score is 1 / rank, as Pyserini's converter has it.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not three columns, a rank that is no
            integer from 1 on, a document twice for one query, not UTF-8. All are named.
    """
    run: RunDict = {}
    faults = read_columns(path, partial(_add_hit, run), expected="3 columns: qid docid rank")
    faults.finish(records=len(run))
    return run


def _add_hit(run: RunDict, columns: list[str]) -> None:
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} columns")
    qid, docid, rank = columns
    if not _RANK.fullmatch(rank):
        raise ValueError(f"rank {rank!r} is not an integer from 1 on")
    ranking = run.setdefault(qid, {})
    if docid in ranking:
        raise ValueError(f"document {docid} a second time for query {qid}")
    ranking[docid] = 1 / int(rank)


# --------
# Runs as Pyserini's and ranx's objects.


def from_trec_run(trec_run: Any) -> RunDict:
    """The run in a `pyserini.trectools.TrecRun`; topics become strings."""
    run: RunDict = {}
    rows = trec_run.run_data[["topic", "docid", "score"]].itertuples(index=False, name=None)
    for topic, docid, score in rows:
        run.setdefault(str(topic), {})[str(docid)] = float(score)
    return run


def to_trec_run(run: RunDict, tag: str = "tasb") -> Any:
    """A `pyserini.trectools.TrecRun` of a run that `fuse_runs` gave, in its order; topics stay strings."""
    from pyserini.trectools import TrecRun

    rows = [
        (qid, "Q0", docid, rank, score, tag)
        for qid, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking.items(), 1)
    ]
    return TrecRun.from_list(rows)


def from_ranx(ranx_run: Any) -> RunDict:
    """The run in a `ranx.Run`."""
    return {
        str(qid): {str(docid): float(score) for docid, score in ranking.items()}
        for qid, ranking in ranx_run.to_dict().items()
    }


def to_ranx(run: RunDict, name: str = "tasb") -> Any:
    """A `ranx.Run`; the package has to be installed. Where scores are equal, ranx has an order of its own."""
    from ranx import Run as RanxRun

    return RanxRun(run, name=name)
