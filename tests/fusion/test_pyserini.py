"""Against stock Pyserini: its hybrid score to the last bit, and `pyserini.fusion`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.formats.named import load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.fusion.fuse import fuse_runs
from pyserini_tasb.fusion.methods import Fusion

SCORES = st.floats(-1e6, 1e6)
LISTS = st.dictionaries(st.sampled_from("abcdefgh"), SCORES, max_size=6)


def hits(ranking):
    return [SimpleNamespace(docid=docid, score=score) for docid, score in ranking.items()]


def hybrid(dense, sparse, alpha, *, normalise):
    from pyserini.search.hybrid import HybridSearcher

    found = HybridSearcher._hybrid_results(hits(dense), hits(sparse), alpha, 1000, normalise)
    return {hit.docid: hit.score for hit in found}


@settings(max_examples=60)
@given(dense=LISTS, sparse=LISTS, alpha=st.floats(0, 10))
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.usefixtures("suitable_java")
def test_hybrid_score_to_the_last_bit(dense, sparse, alpha, normalise):
    # By the spread of equal scores Pyserini divides.
    if not (dense or sparse) or (normalise and any(len(set(each.values())) == 1 for each in (dense, sparse))):
        return
    fusion = Fusion("linear", weights=(1.0, alpha), normalization="pyserini" if normalise else "none")
    assert fuse_runs([{"q": dense}, {"q": sparse}], fusion)["q"] == hybrid(dense, sparse, alpha, normalise=normalise)


@pytest.mark.usefixtures("suitable_java")
def test_hybrid_score_of_real_runs():
    dense, sparse = load_run("dl19-passage.tasb"), load_run("dl19-passage.bm25")
    found = fuse_runs([dense, sparse], Fusion("linear", weights=(1.0, 0.12)))
    for qid in dense:
        assert found[qid] == hybrid(dense[qid], sparse[qid], 0.12, normalise=False)


@pytest.fixture(scope="module")
def real_runs():
    return [load_run("dl19-passage.tasb"), load_run("dl19-passage.bm25")]


def merged(trec_run):
    return {
        qid: dict(sorted(ranking.items(), key=lambda hit: (hit[1], hit[0]), reverse=True))
        for qid, ranking in Run.from_trec_run(trec_run).items()
    }


@pytest.mark.parametrize(
    ("function", "options", "fusion"),
    [
        ("reciprocal_rank_fusion", {}, Fusion("rrf")),
        ("interpolation", {"alpha": 0.3}, Fusion("linear", weights=(0.3, 0.7), missing="zero")),
        ("average", {}, Fusion("linear", weights=(0.5, 0.5), missing="zero")),
        ("normalize", {}, Fusion("combsum", normalization="min-max")),
    ],
)
@pytest.mark.usefixtures("suitable_java")
def test_pyserini_fusion(real_runs, function, options, fusion):
    from pyserini import fusion as stock

    # Written in trec_eval's order: Pyserini takes ranks from the file.
    ordered = [fuse_runs([run, run], Fusion("combmax", hits=None)) for run in real_runs]
    expected = merged(getattr(stock, function)([Run(run).to_trec_run() for run in ordered], **options))
    found = fuse_runs(real_runs, fusion)
    assert found.keys() == expected.keys()
    for qid in found:
        assert found[qid] == pytest.approx(expected[qid], abs=1e-12)
