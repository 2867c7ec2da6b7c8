"""The lines of re-ranked queries: as they are written, and as an interruption leaves them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


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
