"""A run in the formats of `pyserini.search.faiss`: TREC's and MS MARCO's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.index.ranking import Hits


FORMATS = {"trec": "{qid} Q0 {docid} {rank} {score} {tag}\n", "msmarco": "{qid}\t{docid}\t{rank}\n"}


def write_ranked(path: Path, found: Mapping[str, Hits], docids: Sequence[str], *, form: str, tag: str) -> None:
    """Write ranked hits; `path` is replaced once all of them are on disk.

    A score gets the digits that tell it from every other float32. Six behind the point, as Pyserini writes, would make
    ties of scores that are none.

    Args:
        path: the run.
        found: qid → hits, in their order.
        docids: of the hits' rows.
        form: of `FORMATS`.
        tag: the last column of TREC's.

    Raises:
        TasbError: the file cannot be written.
    """
    line = FORMATS[form].format
    with whole_text_file(path) as out:
        for qid, hits in found.items():
            for rank, (score, row) in enumerate(zip(hits.scores, hits.rows.tolist(), strict=True), 1):
                out.write(line(qid=qid, docid=docids[row], rank=rank, score=score, tag=tag))
