"""Fusion methods by hand, and against ranx where both have the same."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.fusion.fuse import fuse_runs, score_parts
from pyserini_tasb.fusion.methods import METHODS, NORMALISATIONS, Fusion

DENSE = {"q": {"a": 10.0, "b": 8.0, "c": 6.0}}
SPARSE = {"q": {"b": 4.0, "d": 2.0}}

DOCIDS = [f"d{number}" for number in range(8)]


@st.composite
def rankings(draw):
    """Scores that differ, as ranx has its own order of equal ones."""
    docids = draw(st.lists(st.sampled_from(DOCIDS), min_size=1, max_size=6, unique=True))
    scores = draw(st.lists(st.integers(1, 500), min_size=len(docids), max_size=len(docids), unique=True))
    return dict(zip(docids, (score / 8 for score in scores), strict=True))


def several_runs(least, most):
    run = st.fixed_dictionaries({"q1": rankings(), "q2": rankings()})
    return st.lists(run, min_size=least, max_size=most)


def fused(method, *runs, **choices):
    return fuse_runs(runs or (DENSE, SPARSE), Fusion(method=method, **choices))["q"]


@pytest.mark.parametrize(
    ("method", "choices", "expected"),
    [
        ("linear", {"weights": (1.0, 0.5)}, {"a": 11.0, "b": 10.0, "c": 7.0, "d": 7.0}),
        ("linear", {"weights": (1.0, 0.5), "missing": "zero"}, {"a": 10.0, "b": 10.0, "c": 6.0, "d": 1.0}),
        ("linear", {"weights": (1.0, 0.5), "missing": "drop"}, {"b": 10.0}),
        (
            "linear",
            {"missing": "theoretical", "theoretical_minimums": (-1.0, 0.0)},
            {"a": 10.0, "b": 12.0, "c": 6.0, "d": 1.0},
        ),
        ("convex", {"weights": (3.0, 1.0), "missing": "zero"}, {"a": 7.5, "b": 7.0, "c": 4.5, "d": 0.5}),
        ("combsum", {}, {"a": 10.0, "b": 12.0, "c": 6.0, "d": 2.0}),
        ("combmnz", {}, {"a": 10.0, "b": 24.0, "c": 6.0, "d": 2.0}),
        ("combmax", {}, {"a": 10.0, "b": 8.0, "c": 6.0, "d": 2.0}),
        ("combmin", {}, {"a": 10.0, "b": 4.0, "c": 6.0, "d": 2.0}),
        ("rrf", {}, {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 63, "d": 1 / 62}),
        ("rrf", {"rrf_k": 0.0, "weights": (1.0, 2.0)}, {"a": 1.0, "b": 2.5, "c": 1 / 3, "d": 1.0}),
        ("isr", {}, {"a": 1.0, "b": 2.5, "c": 1 / 9, "d": 0.25}),
        # 4 candidates; what a run lacks shares 1 point (the mean of 1), or 1 and 2 points
        ("borda", {}, {"a": 5.5, "b": 7.0, "c": 3.5, "d": 4.0}),
    ],
)
def test_by_hand(method, choices, expected):
    found = fused(method, **choices)
    assert found == pytest.approx(expected, abs=1e-12)
    assert list(found.items()) == sorted(found.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)


@pytest.mark.parametrize(
    ("normalisation", "a", "b", "c"),
    [
        ("none", 10.0, 8.0, 6.0),
        ("min-max", 1.0, 0.5, 0.0),
        ("pyserini", 0.5, 0.0, -0.5),
        ("max", 1.0, 0.8, 0.6),
        ("z-score", math.sqrt(1.5), 0.0, -math.sqrt(1.5)),
        ("theoretical-min", 1.0, 6 / 8, 4 / 8),
        ("rank", 1.0, 2 / 3, 1 / 3),
    ],
)
def test_normalisations_by_hand(normalisation, a, b, c):
    # The other run counts nothing.
    choices = {"weights": (1.0, 0.0), "normalization": normalisation, "theoretical_minimums": (2.0, 0.0)}
    assert fused("linear", missing="minimum", **choices) == pytest.approx({"a": a, "b": b, "c": c, "d": c}, abs=1e-12)
    assert fused("linear", missing="zero", **choices)["d"] == 0
    assert set(NORMALISATIONS) == {"none", "min-max", "pyserini", "max", "z-score", "theoretical-min", "rank"}


@pytest.mark.parametrize(
    ("normalisation", "score"),
    [("none", 3.0), ("min-max", 1.0), ("pyserini", 0.0), ("max", 1.0), ("z-score", 0.0), ("theoretical-min", 1.0)],
)
@pytest.mark.parametrize("docids", ["x", "xyz"])
def test_equal_scores_and_single_hits(normalisation, score, docids):
    choices = {"weights": (1.0, 0.0), "normalization": normalisation, "theoretical_minimums": (2.0, 0.0)}
    equal = {"q": dict.fromkeys(docids, 3.0)}
    assert fused("linear", equal, {"q": {"x": 1.0}}, **choices) == dict.fromkeys(sorted(docids, reverse=True), score)


def test_theoretical_minimum_reached_by_the_best():
    choices = {"normalization": "theoretical-min", "theoretical_minimums": (3.0, 0.0), "weights": (1.0, 0.0)}
    assert fused("linear", {"q": {"x": 3.0}}, {"q": {"x": 1.0}}, **choices) == {"x": 0.0}


def test_negative_and_zero_best_keep_their_order_under_max():
    choices = {"normalization": "max", "weights": (1.0, 0.0)}
    assert list(fused("linear", {"q": {"x": -2.0, "y": -1.0}}, {"q": {"x": 1.0}}, **choices)) == ["y", "x"]
    assert fused("linear", {"q": {"x": -2.0, "y": 0.0}}, {"q": {"x": 1.0}}, **choices) == {"y": 0.0, "x": -2.0}


@pytest.mark.parametrize("method", list(METHODS))
def test_query_in_one_run_only_and_empty_list(method):
    runs = [{"q": {"a": 2.0, "b": 1.0}, "both": {"a": 1.0}}, {"both": {"a": 1.0}, "other": {"c": 1.0}, "q": {}}]
    found = fuse_runs(runs, Fusion(method=method))
    assert list(found) == ["q", "both", "other"]
    assert list(found["q"]) == ["a", "b"]
    dropped = fuse_runs(runs, Fusion(method=method, missing="drop"))
    assert list(dropped) == ["both"]


def test_depth_cuts_lists_before_and_output_depth_after():
    runs = [{"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"c": 9.0, "b": 8.0}}]
    assert fuse_runs(runs, Fusion("combsum", depth=1))["q"] == {"c": 9.0, "a": 3.0}
    assert list(fuse_runs(runs, Fusion("combsum", hits=2))["q"]) == ["c", "b"]


def test_ties_by_docid_descending_as_trec_eval_does():
    run = {"q": dict.fromkeys(("9", "10", "a", "é", "B"), 1.0)}
    assert next(iter(fuse_runs([run, run], Fusion("rrf", depth=None))["q"])) == "é"
    assert list(fuse_runs([run, run], Fusion("combsum"))["q"]) == ["é", "a", "B", "9", "10"]


@settings(max_examples=15)
@given(several_runs(2, 4), st.randoms())
def test_order_of_lines_does_not_matter(runs, random):
    def shuffled(ranking):
        hits = list(ranking.items())
        random.shuffle(hits)
        return dict(hits)

    again = [{qid: shuffled(ranking) for qid, ranking in run.items()} for run in runs]
    for method in METHODS:
        assert fuse_runs(runs, Fusion(method)) == fuse_runs(again, Fusion(method))


RANX_METHODS = {
    "combsum": "sum", "combmnz": "mnz", "combmax": "max", "combmin": "min", "rrf": "rrf", "isr": "isr",
    "borda": "bordafuse",
}  # fmt: skip
RANX_NORMS = {"none": None, "min-max": "min-max", "max": "max", "z-score": "zmuv", "rank": "rank"}


def ranx_fused(runs, **choices):
    import ranx

    return ranx.fuse([ranx.Run(run) for run in runs], **choices).to_dict()


def assert_equal_runs(found, expected):
    assert found.keys() == expected.keys()
    for qid in expected:
        assert found[qid] == pytest.approx(dict(expected[qid]), abs=1e-9)


@settings(max_examples=12)
@given(several_runs(2, 4))
def test_methods_equal_ranx(runs):
    for ours, theirs in RANX_METHODS.items():
        assert_equal_runs(fuse_runs(runs, Fusion(ours)), ranx_fused(runs, norm=None, method=theirs))


@settings(max_examples=12)
@given(several_runs(2, 4))
def test_normalisations_equal_ranx(runs):
    # ranx gives 0 to a single hit under min-max; here it is 1, as in pyserini.fusion.
    runs = [{qid: ranking | {"x": 0.0, "y": 99.0} for qid, ranking in run.items()} for run in runs]
    for ours, theirs in RANX_NORMS.items():
        found = fuse_runs(runs, Fusion("combsum", normalization=ours))
        assert_equal_runs(found, ranx_fused(runs, norm=theirs, method="sum"))


@settings(max_examples=12)
@given(several_runs(2, 2), st.floats(0, 1))
def test_weighted_sum_equals_ranx(runs, weight):
    weights = (weight, 1 - weight)
    found = fuse_runs(runs, Fusion("linear", weights=weights, missing="zero"))
    assert_equal_runs(found, ranx_fused(runs, norm=None, method="wsum", params={"weights": weights}))


@pytest.mark.parametrize(
    ("choices", "phrase"),
    [
        ({"method": "liner"}, "did you mean `linear`"),
        ({"method": "RFR"}, "did you mean `rrf`"),
        ({"normalization": "minmax"}, "did you mean `min-max`"),
        ({"missing": "minimal"}, "did you mean `minimum`"),
        ({"weights": (1.0,)}, "one weight for each of the 2 runs"),
        ({"weights": (1.0, math.nan)}, "finite weights"),
        ({"weights": (1e308, 1e308)}, "finite scores"),
        ({"method": "convex", "weights": (1.0, -1.0)}, "weights from 0 on"),
        ({"method": "rrf", "normalization": "min-max"}, "uses only ranks"),
        ({"method": "combmax", "missing": "zero"}, "for `combmax`: nothing, drop"),
        ({"normalization": "theoretical-min", "theoretical_minimums": (None, 0.0)}, "none for run 1"),
        ({"missing": "theoretical"}, "none for run 1, 2"),
        ({"normalization": "theoretical-min", "theoretical_minimums": (7.0, 0.0)}, "no score below 7.0"),
        ({"method": "rrf", "rrf_k": -1.0}, "k of RRF"),
        ({"depth": 0}, "a depth of 1 or more"),
    ],
)
def test_choices_that_do_not_go_together(choices, phrase):
    with pytest.raises(TasbError) as caught:
        fuse_runs([DENSE, SPARSE], Fusion(**choices))
    assert phrase in str(caught.value)


def test_one_run_is_not_enough():
    with pytest.raises(TasbError, match="two runs or more"):
        fuse_runs([DENSE], Fusion())


SUMS = [name for name in METHODS if METHODS[name].is_sum]


def test_which_methods_are_sums():
    assert {"linear", "convex", "combsum", "combmnz", "rrf", "isr", "borda"} <= set(SUMS)
    assert not {"combmax", "combmin"} & set(SUMS)


def test_parts_by_hand():
    tables = [RunTable.from_run(run, name="run") for run in (DENSE, SPARSE)]
    (parts,) = dict(score_parts(tables, Fusion(method="isr", weights=(1.0, 2.0)))).values()
    assert parts == {"a": (1.0, 0.0), "b": (0.5, 4.0), "c": (1 / 9, 0.0), "d": (0.0, 0.5)}
    (parts,) = dict(score_parts(tables, Fusion(weights=(1.0, 0.5)))).values()
    assert parts == {"a": (10.0, 1.0), "b": (8.0, 2.0), "c": (6.0, 1.0), "d": (6.0, 1.0)}


@pytest.mark.parametrize("method", SUMS)
@settings(max_examples=25)
@given(runs=several_runs(2, 3))
def test_parts_sum_to_the_score(method, runs):
    fusion = Fusion(method=method, weights=tuple(map(float, range(1, 1 + len(runs)))))
    parts = dict(score_parts([RunTable.from_run(run, name="run") for run in runs], fusion))
    for qid, ranking in fuse_runs(runs, fusion).items():
        assert {docid: pytest.approx(sum(parts[qid][docid])) for docid in ranking} == ranking


@pytest.mark.parametrize("method", ["combmax", "combmin"])
def test_a_maximum_has_no_parts(method):
    tables = [RunTable.from_run(run, name="run") for run in (DENSE, SPARSE)]
    with pytest.raises(TasbError, match=f"adds the runs' contributions: borda, (?s:.*)`{method}`"):
        list(score_parts(tables, Fusion(method=method)))
