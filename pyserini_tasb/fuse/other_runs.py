"""Runs as Pyserini's and ranx's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserini_tasb.evaluate.runs import Run


def from_trec_run(trec_run: Any) -> Run:
    """The run in a `pyserini.trectools.TrecRun`; topics become strings."""
    run: Run = {}
    rows = trec_run.run_data[["topic", "docid", "score"]].itertuples(index=False, name=None)
    for topic, docid, score in rows:
        run.setdefault(str(topic), {})[str(docid)] = float(score)
    return run


def to_trec_run(run: Run, tag: str = "tasb") -> Any:
    """A `pyserini.trectools.TrecRun` of a run that `fuse_runs` gave, in its order; topics stay strings."""
    from pyserini.trectools import TrecRun

    rows = [
        (qid, "Q0", docid, rank, score, tag)
        for qid, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking.items(), 1)
    ]
    return TrecRun.from_list(rows)


def from_ranx(ranx_run: Any) -> Run:
    """The run in a `ranx.Run`."""
    return {
        str(qid): {str(docid): float(score) for docid, score in ranking.items()}
        for qid, ranking in ranx_run.to_dict().items()
    }


def to_ranx(run: Run, name: str = "tasb") -> Any:
    """A `ranx.Run`; the package has to be installed. Where scores are equal, ranx has an order of its own."""
    from ranx import Run as RanxRun

    return RanxRun(run, name=name)
