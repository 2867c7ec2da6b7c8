"""`--keep-rest`: what lies below the depth follows in its order."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.reranking import scorers
from pyserini_tasb.reranking.rerank import rerank_queries
from tests.reranking.fakes import FixedScorer, LengthScorer

DOCIDS = [f"d{number:04}" for number in range(1_000)]
RUN = {"q": {docid: -float(rank) for rank, docid in enumerate(DOCIDS)}}


@pytest.mark.parametrize("lowest", [0.0, -20.5, -3e38, 16_777_000.0, -16_777_000.0, 1e-30])
def test_the_order_is_trec_evals_too(lowest):
    scores = (max(lowest, 0) + 8, lowest)
    (query,) = rerank_queries(RUN, {"q": "q"}, dict.fromkeys(DOCIDS, "x"), FixedScorer(*scores), 2, keep_rest=True)
    assert query.docids == DOCIDS
    assert query.scores.dtype == np.float32
    assert query.scores[:2].tolist() == np.float32(scores).tolist()
    assert np.isfinite(query.scores).all()
    assert ranked_docids(dict(zip(query.docids, query.scores.tolist(), strict=True))) == DOCIDS


def test_nothing_below(monkeypatch):
    (query,) = rerank_queries(
        RUN, {"q": "q"}, dict.fromkeys(DOCIDS, "x"), FixedScorer(*range(1_000)), 1_000, keep_rest=True
    )
    assert query.docids == DOCIDS[::-1]


def test_the_command(job, ranking, monkeypatch, capsys):
    scorer = LengthScorer()
    monkeypatch.setattr(scorers, "load_scorer", lambda *_, **__: scorer)
    dropped = load_run(job.but(output=job.output.with_name("dropped.run"))())
    kept = load_run(job.but("--keep-rest")())
    for qid, docids in dropped.items():
        assert list(kept[qid]) == [*docids, *ranked_docids(ranking[qid])[job.depth :]]
        assert {docid: kept[qid][docid] for docid in docids} == docids
    assert capsys.readouterr().out.count("10 queries, 50 passages") == 2


def test_what_is_left_of_one_is_not_gone_on_with_by_the_other(job, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LengthScorer, "score_pairs", interrupted)
        patched.setattr(scorers, "load_scorer", lambda *_, **__: LengthScorer())
        with pytest.raises(KeyboardInterrupt):
            job.but("--keep-rest")()
    part = job.output.with_name("second.run.part")
    part.write_bytes(b"q Q0 d 1 1.0 t\n")  # what is empty is gone on with by anybody
    with pytest.raises(TasbError, match="not the same run"):
        job()
