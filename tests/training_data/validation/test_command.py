from __future__ import annotations

from argparse import Namespace

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.data.validation_building import run
from pyserini_tasb.data.validation_set import ValidationSet
from pyserini_tasb.formats.run import Run
from tests.conftest import DATA, TINY


@pytest.fixture
def arguments(tmp_path, expected_scores):
    Run(expected_scores).write(tmp_path / "run.txt", tag="tiny")
    return Namespace(
        topics=str(TINY / "topics.tsv"),
        qrels=str(TINY / "qrels.txt"),
        baseline_run=str(tmp_path / "run.txt"),
        corpus=str(TINY / "corpus.jsonl"),
        output=str(tmp_path / "set"),
        queries_sampled=3_200,
        sampling="uniform",
        stratify_by="RR@10",
        strata=5,
        depth=7,
        min_relevance=1,
        remove_query=False,
        seed=1,
        overwrite=False,
    )


def test_says_what_it_made(arguments, tmp_path, capsys):
    assert run(arguments) == 0
    printed = capsys.readouterr()
    validation = ValidationSet(tmp_path / "set")
    assert f"{tmp_path}/set: 10 of 10 queries, {len(validation.passages)} passages" in printed.out
    assert f"nDCG@10 {validation.baseline():.4f}" in printed.out
    assert "reading the collection" in printed.err
    assert validation.description["sources"]["collection"] == arguments.corpus


def test_stratified(arguments, capsys):
    arguments.sampling, arguments.queries_sampled = "stratified", 5
    run(arguments)
    assert "strata by RR@10, lowest first: 1 of " in capsys.readouterr().out


def test_what_was_left_out_is_said(arguments, tmp_path, capsys):
    (tmp_path / "topics.tsv").write_text("".join((TINY / "topics.tsv").read_text().splitlines(keepends=True)[2:]))
    arguments.topics = str(tmp_path / "topics.tsv")
    run(arguments)
    assert "left out: 2 judged queries, not among the topics" in capsys.readouterr().out


def test_a_text_store_is_a_collection(arguments, tmp_path, capsys):
    run(arguments)
    arguments.corpus, arguments.output = str(tmp_path / "set" / "passages"), str(tmp_path / "again")
    run(arguments)
    assert ValidationSet(tmp_path / "again").fingerprint == ValidationSet(tmp_path / "set").fingerprint


@pytest.mark.parametrize(
    ("option", "value", "phrase"),
    [
        ("topics", "no-such.tsv", "no-such.tsv"),
        ("stratify_by", "RR@ten", "RR@ten"),
        ("collection", "no-such-folder", "no-such-folder"),
        ("depth", -1, "depth -1"),
    ],
)
def test_mistakes_make_nothing(arguments, tmp_path, option, value, phrase):
    setattr(arguments, option, value)
    with pytest.raises(TasbError, match=phrase):
        run(arguments)
    assert not list(tmp_path.glob("set*"))


def test_an_existing_set_is_replaced_when_asked(arguments, tmp_path):
    run(arguments)
    first = ValidationSet(tmp_path / "set").fingerprint
    arguments.depth = 9
    with pytest.raises(TasbError, match="--overwrite"):
        run(arguments)
    assert ValidationSet(tmp_path / "set").fingerprint == first
    arguments.overwrite = True
    run(arguments)
    assert ValidationSet(tmp_path / "set").fingerprint != first


def test_a_query_s_own_document_is_no_candidate(arguments, tmp_path, capsys):
    for option, name in (("topics", "queries.tsv"), ("qrels", "qrels.txt"), ("baseline_run", "run.txt")):
        setattr(arguments, option, str(DATA / "self" / name))
    arguments.corpus, arguments.depth = str(DATA / "self" / "collection.jsonl"), 2
    found = {}
    for remove_query in (False, True):
        arguments.remove_query, arguments.output = remove_query, str(tmp_path / str(remove_query))
        assert run(arguments) == 0
        made = ValidationSet(tmp_path / str(remove_query))
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
    arguments.qrels, arguments.output = str(tmp_path / "qrels.txt"), str(tmp_path / "judged")
    capsys.readouterr()
    assert run(arguments) == 0
    assert "left out: 1 judged queries, no relevant passage" in capsys.readouterr().out
    assert ValidationSet(tmp_path / "judged").qrels == {"a1": {"a2": 1}}
