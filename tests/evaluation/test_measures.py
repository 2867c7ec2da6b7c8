from __future__ import annotations

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import (
    default_measures,
    evaluate_run,
    parse_measures,
    relevance_grade,
    shallowest_cutoff,
)

QRELS = {"q": {"a": 1}}
RUN = {"q": {"a": 1.0}}


def test_each_measure_once_under_one_name():
    parsed = parse_measures(["MRR@10", "nDCG@10", "RR@10", "AP(rel=1)", "AP"])
    assert [str(measure) for measure in parsed] == ["RR@10", "nDCG@10", "AP"]
    assert parse_measures(parsed) == parsed


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        ("nDGC@10", "measure not found: nDGC; did you mean `nDCG@10`?"),
        ("ndcg@10", "measure not found: ndcg; did you mean `nDCG@10`?"),
        ("ap(rel=2)@100", "measure not found: ap; did you mean `AP(rel=2)@100`?"),
        ("ndcg_cut.10", "; ir-measures writes it `nDCG@10`"),
        ("map", "measure not found: map; ir-measures writes it `AP`"),
        ("recall.1000", "; ir-measures writes it `R@1000`"),
        ("recip_rank", "; ir-measures writes it `RR`"),
        ("R", "invalid param cutoff is missing"),
        ("AP(level=2)", "unsupported params found: ['level']"),
        ("nDCG@10,RR@10", "unexpected expression"),
        ("nDCG@ten", "problem parsing measure"),
        ("", "problem parsing measure"),
    ],
)
def test_what_is_no_measure_is_named_with_what_was_meant(measure, reason):
    with pytest.raises(TasbError) as caught:
        parse_measures(["nDCG@10", measure])
    assert f"`{measure}`: " in caught.value.found
    assert reason in caught.value.found


def test_all_faults_are_reported_at_once():
    with pytest.raises(TasbError) as caught:
        parse_measures(["foo", "nDCG@10", "bar"])
    assert "`foo`" in caught.value.found
    assert "`bar`" in caught.value.found
    assert "`nDCG@10`" not in caught.value.found


def test_the_grade_that_counts_as_relevant_and_the_cutoff_that_counts_most():
    def grade(qrels, *measures):
        return relevance_grade(parse_measures(measures), qrels)

    assert grade("dl19-passage", "nDCG@10") == grade("dl20", *default_measures("dl20")) == 2
    assert grade("msmarco-passage-dev-subset", "RR@10") == grade("robust04", "AP") == 1
    assert grade("dl19-passage", "nDCG@10", "R(rel=3)@50") == grade("robust04", "AP(rel=3)") == 3
    assert grade("dl19-passage", "AP(rel=1)", "R(rel=3)@50") == 2
    assert shallowest_cutoff(parse_measures(["R@1000", "nDCG@20", "AP"])) == 20
    assert shallowest_cutoff(parse_measures(["AP"])) == 10


@pytest.mark.parametrize("measure", ["nDCG@0", "P@0", "R@0", "AP@0", "RR@0", "nDCG@True", "AP(rel=0)", "R(rel=0)@5"])
def test_values_that_would_kill_the_process_are_refused(measure):
    with pytest.raises(TasbError, match="must be 1 or more"):
        evaluate_run(RUN, QRELS, [measure])


def test_measure_whose_provider_is_not_installed():
    with pytest.raises(TasbError, match=r"alpha_nDCG@10: [^$]*pyndeval"):
        evaluate_run(RUN, QRELS, ["nDCG@10", "alpha_nDCG@10"])


def test_defaults_by_the_names_of_the_qrels():
    trec_dl = ("nDCG@10", "AP(rel=2)@1000", "R(rel=2)@1000", "RR(rel=2)@10")
    assert default_measures("dl19-passage") == default_measures("dl20") == default_measures("dl21-passage") == trec_dl
    assert (
        default_measures("msmarco-passage-dev-subset")
        == default_measures("msmarco-v1-passage.dev")
        == ("RR@10", "R@1000")
    )
    other = ("nDCG@10", "AP@1000", "R@1000", "RR@10")
    assert (
        default_measures("dl19-doc")
        == default_measures("qrels/dl19-passage.txt")
        == default_measures("robust04")
        == other
    )
    for measures in (trec_dl, other, ("RR@10", "R@1000")):
        assert [str(measure) for measure in parse_measures(measures)] == list(measures)
