"""Runs in TREC's six columns: reading, and writing in the order trec_eval ranks."""

from __future__ import annotations

import gzip
import math
import os
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar, cast

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import ASCII_SPACE, FAULTS_SHOWN, LineFaults, columns_of, open_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Run: TypeAlias = dict[str, dict[str, float]]
"""qid → docid → score, in the file's order. What ranks is the score alone."""

Value = TypeVar("Value")

_WRONG_COLUMNS = {
    3: " (an MS MARCO run? `python -m pyserini.eval.convert_msmarco_run_to_trec_run` makes a TREC run of it)",
    4: " (qrels?)",
    7: " (white space in a docid or in the tag?)",
}


def read_run(path: Path) -> Run:
    """Read a run, plain or gzip. Ids stay strings; the rank column is ignored, as trec_eval does.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not six columns, a score that is no
            finite number, a document twice for one query, not UTF-8. All are named.
    """
    run: Run = {}
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
