"""The steps of an adaptation: which there are, what each reads, and the configuration of the training."""

from __future__ import annotations

import itertools

import pytest
import yaml

from pyserini_tasb.adaptation import chain as chain_module
from pyserini_tasb.adaptation.chain import JUDGED_TOPICS, RUNS, TRAINING, steps
from pyserini_tasb.adaptation.choices import (
    DOCUMENTS,
    Choices,
    Model,
    default_steps,
    expected_queries,
    training_yaml,
)
from pyserini_tasb.recipes.types import EncoderCard


def encoder(name, size=100, **card) -> Model:
    return Model(name, EncoderCard(name=name, model=f"/models/{name}", **card), "bert-dot", size)


def reader(name, kind="bert-cat", size=600) -> Model:
    return Model(name, EncoderCard(name=name, model=f"/models/{name}"), kind, size)


STUDENT, TEACHER, OTHER = encoder("student"), encoder("teacher", 300), encoder("other")
CAT, COLBERT = reader("cat"), reader("colbert", "colbert")


def choices(**changes) -> Choices:
    given = {
        "name": "x", "student": STUDENT, "teacher": TEACHER, "in_batch_teacher": TEACHER, "source": "auto",
        "query_model": None, "queries_per_document": 3, "queries": 1_000, "mine_with": ("bm25", "student"),
        "negatives": 4, "sampling": "tas-balanced", "batch_size": 8, "max_steps": 60, "max_length": 40,
        "allow_reversed": False, "allow_bin": False, "seed": 0, "precision": None, "device": None, "trust": (),
    }  # fmt: skip
    return Choices(**{**given, **changes})


TEACHERS = [(TEACHER, TEACHER), (CAT, None), (CAT, OTHER), (TEACHER, OTHER), (COLBERT, COLBERT), (STUDENT, STUDENT)]
MINERS = [("bm25",), ("student",), ("bm25", "student")]
GRID = list(itertools.product(TEACHERS, MINERS, (None, "t5"), ("random", "tas"), (0, 10)))


@pytest.mark.parametrize(("teachers", "mine_with", "query_model", "sampling", "judged"), GRID)
def test_each_step_reads_only_what_an_earlier_one_made(teachers, mine_with, query_model, sampling, judged):
    chosen = choices(
        teacher=teachers[0],
        in_batch_teacher=teachers[1],
        mine_with=mine_with,
        query_model=query_model,
        sampling=sampling,
    )
    chain = steps(chosen, 500, judged)
    made, names = {DOCUMENTS, TRAINING, *([JUDGED_TOPICS] if judged else [])}, set()
    for step in chain:
        assert set(step.inputs) <= made, step.name
        assert not set(step.products) & made, step.name  # nothing is made twice
        assert step.name not in names
        made.update(step.products)
        names.add(step.name)
        for word in step.arguments:  # a path that a command reads is one of its inputs
            top = [path for path in made - set(step.products) if word == path or word.startswith(f"{path}/")]
            if top and step.name != "train":
                assert set(top) & {path for each in step.inputs for path in (each, *parents_in(each, made))}, step.name
    assert ("cluster" in names) == (sampling != "random")
    assert ("score" in names) == (not teachers[0].encodes)
    assert (set(RUNS.values()) <= made) == bool(judged)
    config = yaml.safe_load(training_yaml(chosen, []))
    assert set(config["data"]) == {"pairs", "allow_reversed", *(["clusters"] if sampling != "random" else [])}
    vectors = config.get("teacher", {}).get("vectors", {}).get("passages")
    assert vectors is None or vectors in {product for step in chain for product in step.products}


def parents_in(path, made):
    return [other for other in made if path.startswith(f"{other}/")]


def test_a_model_with_two_parts_encodes_once():
    both = [step.name for step in steps(choices(), 500, 10) if step.name.startswith("encode")]
    assert both == [
        "encode-student-passages",
        "encode-teacher-passages",
        "encode-student-documents",
        "encode-adapted-documents",
        "encode-teacher-documents",
    ]
    # Predicted queries are no part of their documents: the same vectors serve training and measuring.
    predicted = [step.name for step in steps(choices(query_model="t5"), 500, 10) if step.name.startswith("encode")]
    assert predicted == ["encode-student-documents", "encode-teacher-documents", "encode-adapted-documents"]


@pytest.mark.parametrize("faiss_is_there", [True, False])
def test_without_faiss_the_vectors_themselves_are_searched(faiss_is_there, monkeypatch):
    monkeypatch.setattr(chain_module, "has_faiss", lambda: faiss_is_there)
    chain = {step.name: step.arguments for step in steps(choices(), 500, 10)}
    for name, arguments in chain.items():
        assert ("--output-format" in arguments) == (name.startswith("encode") and faiss_is_there), name
    searched = {"mine-student": "--dense-index", **dict.fromkeys(["search-start", "search-adapted"], "--index")}
    for name, option in searched.items():
        folder = chain[name][chain[name].index(option) + 1]
        made = folder.removesuffix("/faiss")
        assert (folder != made) == faiss_is_there
        assert any(name.startswith("encode") and made in arguments for name, arguments in chain.items())


def test_long_steps_are_estimated_by_the_first_one():
    chain = {step.name: step.like for step in steps(choices(teacher=CAT, in_batch_teacher=None), 500, 10)}
    first = "encode-student-passages"
    assert chain[first] is None
    assert chain["encode-adapted-documents"] == (first, 1.0)
    assert chain["score"] == (first, 6 * 500 * 9 / 500)  # six times as large; a query's document and eight negatives
    assert chain["train"] == (first, 60 * 8 * 2 * 3 / 500)
    assert chain["rerank-teacher"] == (first, 6 * 10 * 100 / 500)
    larger = {step.name: step.like for step in steps(choices(), 500, 10)}
    assert larger["encode-teacher-passages"] == (first, 3.0)


def test_judged_queries_are_left_out_of_the_training_queries():
    with_judged, without = ({step.name: step for step in steps(choices(), 500, judged)}["queries"] for judged in (9, 0))
    assert " --exclude judged/topics.tsv " in with_judged.command
    assert "judged" not in without.command


@pytest.mark.parametrize(
    ("student", "teachers", "deviation"),
    [
        (STUDENT, (TEACHER, TEACHER), 5.4),
        (STUDENT, (CAT, None), 5.4),
        (encoder("cosines", normalise=True), (CAT, None), 0.15),
        (encoder("cosines", normalise=True), (encoder("t", normalise=True), OTHER), 0.15),
        (encoder("cosines", normalise=True), (encoder("t", normalise=True), encoder("t", normalise=True)), None),
    ],
)
def test_margins_are_brought_to_the_size_of_the_students_scores(student, teachers, deviation):
    config = yaml.safe_load(
        training_yaml(choices(student=student, teacher=teachers[0], in_batch_teacher=teachers[1]), [])
    )
    assert config["teacher" if teachers[1] else "loss"].get("in_batch") == (teachers[1].name if teachers[1] else None)
    assert config.get("teacher", {}).get("rescale", {}).get("deviation") == deviation


def test_the_student_is_read_as_its_card_says():
    student = encoder("s", pooling="mean", normalise=True, query_prefix="q: ", passage_prefix="p: ",
                      query_max_length=20, passage_max_length=300)  # fmt: skip
    config = yaml.safe_load(training_yaml(choices(student=student), ["student.dropout=0.2"]))
    assert config["student"] == {
        "model": "/models/s", "pooling": "mean", "normalise": True, "query_prefix": "q: ", "passage_prefix": "p: ",
        "query_max_length": 20, "passage_max_length": 40, "dropout": 0.2, "attention_dropout": 0.0, "allow_bin": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("queries", "batch_size", "expected"),
    [(100, 32, 60), (3_200, 32, 300), (250_000, 32, 23_438), (10**8, 32, 140_000)],
)
def test_steps_grow_with_the_queries(queries, batch_size, expected):
    assert default_steps(queries, batch_size) == expected


def test_expected_queries():
    assert expected_queries(100, None, 1_000) == 100
    assert expected_queries(100, 3, 1_000) == 300
    assert expected_queries(100, 30, 1_000) == 1_000
