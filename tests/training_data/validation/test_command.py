from __future__ import annotations

import pytest

from pyserini_tasb import Run, TasbError, validation_set
from pyserini_tasb.data.validation_set import ValidationSet
from pyserini_tasb.formats.named import load_qrels, load_topics
from tests.conftest import DATA, TINY


@pytest.fixture
def arguments(tmp_path, expected_scores):
    Run(expected_scores).write(tmp_path / "run.txt", tag="tiny")
    return {
        "topics": TINY / "topics.tsv",
        "qrels": TINY / "qrels.txt",
        "run": tmp_path / "run.txt",
        "corpus": TINY / "corpus.jsonl",
        "output": tmp_path / "set",
        "hits": 7,
        "seed": 1,
    }


def test_says_what_it_made(arguments, tmp_path, capsys):
    summary = validation_set(**arguments).summary
    validation = ValidationSet(tmp_path / "set")
    assert f"{tmp_path}/set: 10 of 10 queries, {len(validation.passages)} passages" in summary
    assert f"nDCG@10 {validation.baseline():.4f}" in summary
    assert "reading the collection" in capsys.readouterr().err
    assert validation.description["sources"]["collection"] == str(arguments["corpus"])


def test_stratified(arguments):
    made = validation_set(**arguments, sampling="stratified", queries_sampled=5)
    assert "strata by RR@10, lowest first: 1 of " in made.summary


def test_what_was_left_out_is_said(arguments, tmp_path):
    (tmp_path / "topics.tsv").write_text("".join((TINY / "topics.tsv").read_text().splitlines(keepends=True)[2:]))
    made = validation_set(**arguments | {"topics": tmp_path / "topics.tsv"})
    assert "left out: 2 judged queries, not among the topics" in made.summary


def test_a_text_store_is_a_collection(arguments, tmp_path):
    made = validation_set(**arguments)
    again = validation_set(**arguments | {"corpus": tmp_path / "set" / "passages", "output": tmp_path / "again"})
    assert again.fingerprint == made.fingerprint


def test_what_is_in_memory_makes_the_same_set(arguments, tmp_path):
    made = validation_set(**arguments)
    objects = {"topics": load_topics(arguments["topics"]), "qrels": load_qrels(arguments["qrels"])}
    objects["run"] = Run.read(arguments["run"])
    again = validation_set(**arguments | objects | {"output": tmp_path / "again"})
    assert again.fingerprint == made.fingerprint
    assert again.description["sources"]["run"] == "in memory"


@pytest.mark.parametrize(
    ("option", "value", "phrase"),
    [
        ("topics", "no-such.tsv", "no-such.tsv"),
        ("stratify_by", "RR@ten", "RR@ten"),
        ("corpus", "no-such-folder", "no-such-folder"),
        ("hits", -1, "hits=-1"),
    ],
)
def test_mistakes_make_nothing(arguments, tmp_path, option, value, phrase):
    with pytest.raises(TasbError, match=phrase):
        validation_set(**arguments | {option: value})
    assert not list(tmp_path.glob("set*"))


def test_an_existing_set_is_replaced_when_asked(arguments, tmp_path):
    first = validation_set(**arguments).fingerprint
    arguments["hits"] = 9
    with pytest.raises(TasbError, match="overwrite"):
        validation_set(**arguments)
    assert ValidationSet(tmp_path / "set").fingerprint == first
    assert validation_set(**arguments, overwrite=True).fingerprint != first


def test_a_query_s_own_document_is_no_candidate(arguments, tmp_path):
    names = {"topics": "queries.tsv", "qrels": "qrels.txt", "run": "run.txt", "corpus": "collection.jsonl"}
    arguments |= {option: DATA / "self" / name for option, name in names.items()} | {"hits": 2}
    found = {}
    for remove_query in (False, True):
        made = validation_set(**arguments | {"output": tmp_path / str(remove_query)}, remove_query=remove_query)
        found[remove_query] = made
        assert made.description["options"]["remove_query"] == remove_query
    rankings = {kept: {qid: list(of) for qid, of in made.baseline_run.items()} for kept, made in found.items()}
    assert rankings[False] == {"a1": ["a1", "a2"], "a3": ["a3", "a2"]}
    assert rankings[True] == {"a1": ["a2", "a4"], "a3": ["a2", "a4"]}
    assert list(found[True].passages.ids(range(2))) == ["a2", "a4"]
    assert len(found[True].passages) == 2
    assert found[True].fingerprint != found[False].fingerprint
    assert found[True].baseline() == pytest.approx((1 + 0.63092975) / 2)
    # Neither is one that the qrels call relevant.
    (tmp_path / "qrels.txt").write_text("a1 0 a1 1\na1 0 a2 1\na3 0 a3 1\n")
    judged = {"qrels": tmp_path / "qrels.txt", "output": tmp_path / "judged"}
    made = validation_set(**arguments | judged, remove_query=True)
    assert "left out: 1 judged queries, no relevant passage" in made.summary
    assert made.qrels == {"a1": {"a2": 1}}
