"""Measures from ranks: what `tasb evaluate` gives for the fused run itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.fusion.fuse import fuse_runs
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.fusion.tuning_set import TuningSet, ranked_measure

MEASURES = ["nDCG@10", "nDCG", "AP(rel=2)@100", "AP", "R(rel=2)@20", "R@1000", "P@5", "RR(rel=2)@10", "RR"]
DOCIDS = [f"d{number}" for number in range(10)]
RANKING = st.dictionaries(st.sampled_from(DOCIDS), st.sampled_from([0.5, 1.0, 1.5, 2.0, 7.0]), min_size=1, max_size=8)
JUDGMENTS = st.dictionaries(st.sampled_from(DOCIDS), st.integers(-1, 3), min_size=1, max_size=8)


def assert_as_evaluated(runs, qrels, fusion, weights):
    tuning = TuningSet.of([RunTable.from_run(run) for run in runs], qrels, fusion)
    values = {text: tuning.values(np.array(weights), ranked_measure(text)) for text in MEASURES}
    for column, row in enumerate(weights):
        fused = fuse_runs(runs, Fusion(**(vars(fusion) | {"weights": tuple(row)})))
        evaluation = evaluate_run(fused, qrels, MEASURES)
        places = [evaluation.queries.index(qid) for qid in tuning.qids]
        for text in MEASURES:
            assert values[text][:, column] == pytest.approx(evaluation.per_query[text][places], abs=1e-9), text


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("linear"),
        Fusion("convex", normalization="min-max", missing="zero"),
        Fusion("combsum", normalization="z-score", depth=30, hits=20),
        Fusion("rrf"),
        Fusion("borda", missing="drop"),
    ],
)
def test_on_real_runs(fusion):
    runs = [load_run("dl19-passage.tasb"), load_run("dl19-passage.bm25")]
    assert_as_evaluated(runs, load_qrels("dl19-passage"), fusion, [[1.0, 0.0], [1.0, 0.12], [0.3, 0.7]])


@settings(max_examples=10)
@given(runs=st.lists(st.fixed_dictionaries({"q": RANKING, "p": RANKING}), min_size=2, max_size=3), judged=JUDGMENTS)
def test_with_many_ties(runs, judged):
    weights = [[1.0] * len(runs), [1.0, *[0.5] * (len(runs) - 1)]]
    assert_as_evaluated(runs, {"q": judged, "absent": {"d0": 1}}, Fusion("linear"), weights)


def test_all_weights_at_once_and_a_few_at_a_time(monkeypatch):
    runs = [RunTable.from_run(load_run(name)) for name in ("dl20-passage.tasb", "dl20-passage.bm25")]
    tuning = TuningSet.of(runs, load_qrels("dl20-passage"), Fusion())
    weights = np.stack([np.ones(8), np.linspace(0, 2, 8)], axis=1)
    together = tuning.values(weights, ranked_measure("nDCG@10"))
    monkeypatch.setattr("pyserini_tasb.fusion.tuning_set.CELLS_AT_ONCE", 500)
    assert (tuning.values(weights, ranked_measure("nDCG@10")) == together).all()
    assert tuning.depth == 100


@pytest.mark.parametrize("measure", ["Judged@10", "nDCG(dcg='exp-log2')@10", "RBP"])
def test_other_measures_are_refused(measure):
    with pytest.raises(TasbError, match="a measure that can be tuned on"):
        ranked_measure(measure)


@pytest.mark.parametrize("method", ["combmax", "combmnz", "isr"])
def test_methods_without_a_weighted_sum_are_refused(method):
    tables = [RunTable.from_run({"q": {"d": 1.0}})] * 2
    with pytest.raises(TasbError, match="weighted sum"):
        TuningSet.of(tables, {"q": {"d": 1}}, Fusion(method))


def test_qrels_of_other_topics():
    tables = [RunTable.from_run({"q": {"d": 1.0}})] * 2
    with pytest.raises(TasbError, match="the topics' own qrels"):
        TuningSet.of(tables, {"p": {"d": 1}}, Fusion())
