"""`fuse` as a function: whatever a run comes as, and what a message calls its arguments."""

from __future__ import annotations

import logging

import pytest

import pyserini_tasb as tasb
from pyserini_tasb.fusion.fuse import fuse_runs
from pyserini_tasb.fusion.methods import Fusion

NAMES = ["dl19-passage.tasb", "dl19-passage.bm25"]
DENSE, SPARSE = {"q": {"a": 10.0, "b": 8.0, "c": 6.0}}, {"q": {"b": 4.0, "d": 2.0}}


@pytest.fixture(scope="module")
def runs():
    return [tasb.Run.read(name) for name in NAMES]


def test_runs_of_every_kind_give_the_same(runs, tmp_path):
    runs[0].write(tmp_path / "dense.txt")
    expected = fuse_runs([run.to_dict() for run in runs], Fusion("rrf"))
    for given in (NAMES, runs, [tmp_path / "dense.txt", runs[1].to_pandas("ranx")], dict(zip("ab", runs, strict=True))):
        found = tasb.fuse(given, method="rrf")
        assert found == expected
        assert list(found) == list(expected)
    assert [list(found[qid]) for qid in found] == [list(expected[qid]) for qid in expected]


def test_the_result_says_how_it_was_made_and_is_the_file_that_is_written(tmp_path):
    found = tasb.fuse(
        {"dense": DENSE, "sparse": SPARSE}, method="linear", weights=[1, 0.5], output=tmp_path / "new.gz", tag="mine"
    )
    assert (found.name, found.inputs, found.fusion.weights) == ("mine", ("dense", "sparse"), (1, 0.5))
    assert list(found["q"].items()) == [("a", 11.0), ("b", 10.0), ("d", 7.0), ("c", 7.0)]
    assert tasb.Run.read(tmp_path / "new.gz") == found
    assert tasb.fuse([DENSE, SPARSE], method="linear").name == "tasb.linear"


def test_a_recipe_with_changes(runs, caplog):
    caplog.set_level(logging.INFO)
    for change in ({"depth": 50, "method": "rrf"}, ["depth=50", "method=rrf"]):
        found = tasb.fuse(runs, recipe="tasb+bm25", set=change)
        assert found == fuse_runs(runs, Fusion("rrf", weights=(1.0, 0.435), depth=50))
    assert tasb.fuse(runs, recipe="tasb+bm25", set="depth=5", weights=[1, 1]).fusion.depth == 5
    assert not caplog.messages


def test_notes_are_logged(caplog, capsys):
    caplog.set_level(logging.INFO)
    deep = {"q": {f"d{rank:03}": 101.0 - rank for rank in range(101)}, "p": {"x": 1.0}}
    tasb.fuse({"dense": deep, "sparse": {"q": deep["q"]}}, recipe="tasb+bm25")
    assert caplog.messages == [
        "1 of 2 queries of dense are not in both dense and sparse",
        (
            "the weights of tasb+bm25 were tuned at depth 100, but these runs have depth 101: "
            "use set='depth=100', or tune again (`tasb tune`)"
        ),
    ]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("choices", "phrase"),
    [
        ({}, "one of recipe= and method="),
        ({"recipe": "rrf", "method": "rrf"}, "both"),
        ({"recipe": "rrf", "depth": 5}, "set='depth=…'"),
        ({"recipe": "rrf", "hits": 5, "normalization": "max"}, "normalization=, hits="),
        ({"method": "rrf", "set": ["depth=5"]}, "recipe= beside set="),
        ({"method": "rrf", "normalization": "max"}, "leave normalization= out"),
        ({"method": "linear", "missing": "theoretical"}, "minimums=: 0 for BM25"),
        ({"method": "rrf", "missing": "zero"}, "leave out missing="),
        ({"recipe": "tasb+bm25", "set": {"output_depth": 5}}, "unknown key `output_depth`"),
        ({"recipe": "tasb+bm25", "set": {"normalisation": "max"}}, "did you mean `normalization`?"),
    ],
)
def test_mistakes_name_the_arguments(choices, phrase):
    with pytest.raises(tasb.TasbError) as caught:
        tasb.fuse([DENSE, SPARSE], **choices)
    assert phrase in str(caught.value)


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ([DENSE], "give all runs to runs="),
        (DENSE, "give all runs to runs="),
        ("dl19-passage.tasb", "give all runs to runs="),
        ([DENSE, DENSE], "different runs"),
        ([DENSE, {"q": {"a b": 1.0}}], "run 2"),
        ([DENSE, 7], "a run for runs="),
        ({"mine": DENSE, "yours": {"p": {"a": 1.0}}}, "yours"),
    ],
)
def test_runs_that_cannot_be_fused(given, phrase):
    with pytest.raises(tasb.TasbError) as caught:
        tasb.fuse(given, method="rrf")
    assert phrase in str(caught.value)


def test_own_documents(runs):
    with pytest.raises(tasb.TasbError, match="none: remove_query=True drops all"):
        tasb.fuse([{"a": {"a": 1.0}}, {"a": {"b": 1.0}}], method="rrf", remove_query=True)
    assert tasb.fuse([{"a": {"a": 9.0, "c": 1.0}}, {"a": {"b": 1.0}}], method="isr", remove_query=True) == {
        "a": {"c": 1.0, "b": 1.0}
    }


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(tasb.TasbError, match="a file that can be written"):
        tasb.fuse([DENSE, SPARSE], method="rrf", output=tmp_path / "file" / "new.txt")


def test_tuned_weights_are_a_recipe(runs, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    qrels = tasb.Qrels.read("dl19-passage")
    tuned = tasb.tune(
        runs, recipe="tasb+bm25", qrels=qrels, output=tmp_path / "mine.yaml", grid="0:1:0.1", measure="RR(rel=2)@10"
    )
    assert tuned.path == tmp_path / "mine.yaml"
    assert tuned.weights[0] == 1.0
    assert tuned.held_out == "5-fold cross-validation by query, seed 0"
    assert (tuned.queries, len(tuned.fold_weights)) == (43, 5)
    assert tuned.gap == tuned.own_best - tuned.held_out_value
    fused = tasb.fuse(runs, recipe=tuned)
    assert (fused.name, fused.fusion.weights) == ("mine", tuned.weights)
    value = tasb.evaluate(fused, qrels=qrels, measures=["RR(rel=2)@10"])["mine"].overall["RR(rel=2)@10"]
    assert value == pytest.approx(tuned.tuned_value)
    assert "held_out_value=" in repr(tuned)
    assert "fold_weights" not in repr(tuned)


def test_tuning_on_several_sets_in_memory(runs, tmp_path):
    other = [tasb.Run.read(name.replace("19", "20")) for name in NAMES]
    tuned = tasb.tune(
        [*runs, *other], recipe="tasb+bm25", qrels=["dl19-passage", tasb.Qrels.read("dl20-passage")],
        output=tmp_path / "both.yaml", grid="0:1:0.5",
    )  # fmt: skip
    assert tuned.queries == 97
    with pytest.raises(tasb.TasbError, match=r"4 runs=, in this order: tasb:tasb, bm25, for each of dl19"):
        tasb.tune(runs, recipe="tasb+bm25", qrels=["dl19-passage", "dl20-passage"], output=tmp_path / "no.yaml")
    with pytest.raises(tasb.TasbError, match=r"test_qrels= and test_runs= together"):
        tasb.tune(runs, recipe="tasb+bm25", qrels="dl19-passage", test_runs=other, output=tmp_path / "no.yaml")
    assert not (tmp_path / "no.yaml").exists()
