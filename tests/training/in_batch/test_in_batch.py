"""In-batch teachers: their scores are those of the scorers, pair by pair; a ColBERT trains a student."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.bert_cat import new_bert_cat, save_bert_cat
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from pyserini_tasb.training.batches import Tokenising, training_batches
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.sampling import build_sampler
from pyserini_tasb.training.students import load_student
from pyserini_tasb.training.teachers import load_in_batch_teacher
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes
from tests.conftest import TINY_MODEL

CAPS = {"query_max_length": 20, "passage_max_length": 40}


@pytest.fixture(scope="module")
def colbert(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("colbert"), save_colbert, new_colbert(TINY_MODEL, dimension=12, seed=3))


def saved(folder, save, model):
    from transformers import AutoTokenizer

    save(folder, model)
    AutoTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return folder


def teacher_and_batch(training_set, tmp_path, name, negatives=1):
    config_file = training_set.config(
        tmp_path, student={"model": str(TINY_MODEL), **CAPS}, teacher={"in_batch": str(name)}, batch_size=5
    )
    config = load_recipe(config_file, TrainConfig)
    student = load_student(config.student, device="cpu", precision="fp32")
    store = open_pair_store(config.data.pairs)
    teacher = load_in_batch_teacher(config, student, store, Processes())
    sampler = build_sampler("random", store, batch_size=5, seed=1, negatives=negatives)
    tokenising = Tokenising(student.folder, **CAPS)
    (batch,) = training_batches(store, sampler, tokenising, start=0, stop=1, workers=0, ahead=1)
    return teacher, store, batch


@pytest.mark.parametrize("negatives", [1, 2])
@pytest.mark.parametrize("kind", ["colbert", "bi-encoder", "bi-encoder with a prefix"])
def test_scores_are_those_of_the_scorer(request, training_set, tmp_path, kind, negatives):
    """With a prefix of its own, a teacher cannot take the student's tokens."""
    if kind == "colbert":
        name = request.getfixturevalue("colbert")
    else:
        prefix = "about " if "prefix" in kind else ""
        name = tmp_path / "teacher.yaml"
        name.write_text(f"name: teacher\nmodel: {TINY_MODEL}\npooling: mean\npassage_prefix: '{prefix}'\n")
    teacher, store, batch = teacher_and_batch(training_set, tmp_path, name, negatives)
    assert teacher.tokens.are_the_students == ("prefix" not in kind)
    scores = teacher.in_batch(batch)
    lengths = {"query_max_length": CAPS["query_max_length"], "max_length": CAPS["passage_max_length"]}
    scorer = load_scorer(str(name), ScoringOptions("cpu", **lengths))
    for found, passages in ((scores.positives, batch.positives), (scores.negatives, batch.negatives.ravel())):
        queries, columns = np.repeat(batch.queries, len(passages)), np.tile(passages, 5)
        expected = scorer.score_pairs(store.queries, store.passages, queries, columns.astype(np.int64))
        np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-4, atol=1e-3)
    first = batch.negatives.reshape(5, negatives)[:, 0]
    margins = teacher.margins(
        store.queries.texts(batch.queries), store.passages.texts(batch.positives), store.passages.texts(first)
    )
    own = (scores.positives - scores.negatives[:, ::negatives]).diagonal()
    torch.testing.assert_close(margins, own, atol=1e-3, rtol=1e-4)


def test_a_colbert_trains_a_student_in_one_process_or_two(training_set, colbert, tmp_path):
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / f"processes-{processes}"
        folder.mkdir()
        config = training_set.config(
            folder,
            teacher={"in_batch": str(colbert)},
            student={"model": str(TINY_MODEL), "dropout": 0.0, "attention_dropout": 0.0, **CAPS},
            batch_size=5,
        )
        tasb_processes(processes, "train", config, "--set", "device=cpu")
        lines = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
        losses[processes] = [line["in_batch"] for line in lines if line["kind"] == "step"]
    assert len(losses[1]) == 8
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)


def test_a_cross_encoder_is_refused(training_set, tmp_path):
    folder = tmp_path / "cat"
    folder.mkdir()
    saved(folder, save_bert_cat, new_bert_cat(TINY_MODEL, seed=0))
    config = yaml.safe_load(training_set.config(tmp_path).read_text()) | {"teacher": {"in_batch": str(folder)}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(TasbError, match="a bi-encoder or a ColBERT as"):
        train(tmp_path / "config.yaml")
