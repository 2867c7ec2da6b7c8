"""Pyserini's own conditions, read, run and written; ours in its schema."""

from __future__ import annotations

import functools
import re
import shlex

import pytest
import yaml

from pyserini_tasb import TasbError
from pyserini_tasb.regression import two_cr
from pyserini_tasb.regression.two_cr import measure_named, two_cr_file

TASB = "msmarco-v1-passage:distilbert-kd-tasb-pytorch"
COLLECTIONS = ("msmarco-v1-passage", "msmarco-v1-doc", "msmarco-v2-passage", "msmarco-v2-doc")
OF_OURS = {
    "bm25": "bm25-default",
    "bm25-tuned": "bm25-tuned",
    "doct5query": "bm25-d2q-t5-default",
    "doct5query-tuned": "bm25-d2q-t5-tuned",
    "margin-mse": "distilbert-kd-pytorch",
    "tasb": "distilbert-kd-tasb-pytorch",
    "tasb-avg-prf": "distilbert-kd-tasb-avg-prf-pytorch",
    "tasb-rocchio-prf": "distilbert-kd-tasb-rocchio-prf-pytorch",
    "ance": "ance-pytorch",
    "tct+bm25": "tct_colbert-v2-hnp-bm25-pytorch",
    "tct+doct5query": "tct_colbert-v2-hnp-bm25d2q-pytorch",
}


@functools.cache
def conditions(collection: str) -> list[dict]:
    path = two_cr._folder() / f"{collection}.yaml"
    return yaml.safe_load(path.read_text())["conditions"]


def shown(condition: dict) -> dict:
    """What we keep of a condition; options may stand in another order."""
    command = shlex.split(condition["command"])
    return {
        "name": condition["name"],
        "command": [command[:3], sorted(command[3:])],
        "topics": sorted((each["topic_key"], each["eval_key"], str(each["scores"])) for each in condition["topics"]),
    }


def test_pyserinis_own_condition_is_judged_by_us(regress):
    done = regress("--2cr", TASB)
    assert done.status == 2
    for topics in ("dl19-passage", "dl20-passage", "msmarco-v1-passage.dev"):
        result = done.result(f"2cr.msmarco-v1-passage.distilbert-kd-tasb-pytorch.{topics}")
        assert result["verdict"] == "MISSING"
        assert result["needs"][0]["bytes"] == 25162329450
        assert result["needs"][0]["do"].startswith(f"tasb regress --2cr {TASB} --download ")
    plan = regress("--2cr", TASB, "--dry-run").stdout
    assert "--encoder sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco" in plan
    assert "expected: AP(rel=2) 0.4590, nDCG@10 0.7210, R(rel=2)@1000 0.8406 ± 0.0005" in plan
    assert "expected: RR@10 0.3444, R@1000 0.9771 ± 0.0005" in plan


def test_an_index_that_only_pyserini_knows_is_never_downloaded_unasked(regress):
    done = regress("--2cr", "msmarco-v1-passage:sbert-pytorch")
    assert done.status == 2
    assert "needs Faiss index msmarco-v1-passage.sbert, 25." in done.stdout


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_round_trip(regress, tmp_path, monkeypatch, collection):
    monkeypatch.setattr("pyserini_tasb.regression.two_cr.index_archives", lambda _: [])  # here only sizes
    assert regress("--2cr", f"{collection}:*", "--export-2cr", tmp_path / "back.yaml").status == 0
    written = yaml.safe_load((tmp_path / "back.yaml").read_text())["conditions"]
    theirs = conditions(collection)
    assert len(theirs) > 10
    assert [shown(each) for each in written] == [shown(each) for each in theirs]
    assert [each["display"] for each in written] == [each["display"] for each in theirs]


def test_ours_are_pyserinis_own_where_it_has_them(regress, tmp_path, capsys):
    done = regress(
        "--match", "dl19*", "--match", "dl20*", "--match", "msmarco*", "--export-2cr", tmp_path / "ours.yaml"
    )
    assert done.status == 0
    ours = {each["name"]: each for each in yaml.safe_load((tmp_path / "ours.yaml").read_text())["conditions"]}
    for name, theirs in OF_OURS.items():
        (expected,) = (each for each in conditions("msmarco-v1-passage") if each["name"] == theirs)
        assert shown(ours[name] | {"name": theirs}) == shown(expected)
    encoded = {name for name, each in ours.items() if "--encoded-queries" in each["command"]}
    # These are named otherwise for each of the topics, which no single command can say.
    names = ("tasb-encoded-queries", "dl20-passage.tasb-encoded-queries", "msmarco-passage-dev.tasb-encoded-queries")
    assert encoded == set(names)
    assert set(ours) == {*OF_OURS, *encoded}


def test_what_2cr_cannot_hold_is_left_out_by_name(regress, tmp_path):
    done = regress("dl19-passage.tasb", "dl19-passage.tasb+bm25", "--export-2cr", tmp_path / "ours.yaml")
    assert "left out dl19-passage.tasb+bm25: 3 commands" in done.stderr
    nothing = regress("cacm.bm25", "--export-2cr", tmp_path / "nothing.yaml")
    assert nothing.status == 2
    assert not (tmp_path / "nothing.yaml").exists()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("msmarco-v1-passage:no-such", "one of .*bm25-default"),
        ("msmarco-v1-passage", "name a condition after the colon"),
        ("no-such:bm25", "msmarco-v1-doc, msmarco-v1-passage"),
        ("beir:bm25-flat", "as for MS MARCO"),
    ],
)
def test_names_that_lead_nowhere(name, found, regress):
    done = regress("--2cr", name)
    assert done.status == 2
    assert re.search(found, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "measure"),
    [
        ("-c -l 2 -m map", "AP(rel=2)"),
        ("-c -M 100 -m map", "AP@100"),
        ("-c -l 2 -M 100 -m map", "AP(rel=2)@100"),
        ("-c -m ndcg_cut.10", "nDCG@10"),
        ("-c -l 2 -m recall.1000", "R(rel=2)@1000"),
        ("-c -M 10 -m recip_rank", "RR@10"),
    ],
)
def test_measures_by_trec_evals_arguments(arguments, measure):
    assert measure_named(arguments) == measure


@pytest.mark.parametrize("arguments", ["-m map", "-c", "-c -m bpref", "-c -q -m map", "", "-c -l two -m map"])
def test_arguments_that_mean_something_else(arguments):
    with pytest.raises(TasbError, match="run this condition with Pyserini itself"):
        measure_named(arguments)


def test_all_of_pyserinis_files_for_ms_marco_are_read():
    assert all(two_cr_file(collection).conditions for collection in COLLECTIONS)


BEIR = """
conditions:
  - name: bm25-flat
    display: BM25
    command: python -m pyserini.search.lucene --index x.flat --topics $topics --output $output --bm25 --remove-query
    topics:
      - {topic_key: arguana, eval_key: arguana-test, scores: [{nDCG@10: 0.397, R@100: 0.932}]}
"""
DEFINITIONS = """
trec_eval_metric_definitions = {
    "msmarco-beir": {"arguana-test": {"nDCG@10": "-c -m ndcg_cut.10", "R@100": "-c -m recall.100"}}
}
"""


def test_a_condition_that_drops_the_queries_own_documents(regress, tmp_path, monkeypatch):
    (tmp_path / "msmarco-beir.yaml").write_text(BEIR)
    (tmp_path / "msmarco.py").write_text(DEFINITIONS)
    monkeypatch.setattr(two_cr, "_folder", lambda: tmp_path)
    monkeypatch.setattr("pyserini_tasb.regression.two_cr.index_archives", lambda _: [])
    assert "evaluate --qrels arguana-test" in (plan := regress("--2cr", "msmarco-beir:*", "--dry-run").stdout)
    assert plan.count("--remove-query") == 2  # of the search, and of our evaluation
    assert regress("--2cr", "msmarco-beir:*", "--export-2cr", tmp_path / "back.yaml").status == 0
    (written,), (theirs,) = (
        yaml.safe_load(text)["conditions"] for text in ((tmp_path / "back.yaml").read_text(), BEIR)
    )
    assert shown(written) == shown(theirs)


def test_2cr_drops_them_in_the_search_only(regress, small, tmp_path):
    def about(name, module):
        command = [module, "--topics", "arguana", "--output", f"{name}.txt"]
        stage = {"stage": "search", "command": command, "outputs": [f"{name}.txt"]}
        return small.regression(name, stages=[stage], run=f"{name}.txt", remove_query=True)

    paths = [about("lucene", "pyserini.search.lucene"), about("hybrid", "pyserini.search.hybrid")]
    done = regress(*paths, "--export-2cr", tmp_path / "ours.yaml")
    assert "left out hybrid: a command without --remove-query" in done.stderr
    (written,) = yaml.safe_load((tmp_path / "ours.yaml").read_text())["conditions"]
    assert written["command"].endswith(" --remove-query")
