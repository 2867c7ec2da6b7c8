"""A ColBERT's token vectors, kept on disk: computed once, the same when read, within the bytes that are allowed."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.reranking.transformer_scorers import ColBertScorer
from pyserini_tasb.training.token_vectors import TokenVectors
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes
from tests.conftest import TINY_MODEL

TEXTS, DIMENSION, MANY = 20, 4, 10**6


def vectors_of(number):
    """Vectors of a text with this number: as many tokens, and one more."""
    return torch.from_numpy(np.random.default_rng(number).standard_normal((number + 1, DIMENSION), np.float32))


class Compute:
    """Gives vectors, and notes for which texts it was asked."""

    def __init__(self, numbers):
        self.numbers, self.asked = np.array(numbers), []

    def __call__(self, positions):
        self.asked += self.numbers[positions].tolist()
        return [vectors_of(number) for number in self.numbers[positions]]


def asked(vectors, numbers):
    """The texts whose vectors are computed when these are asked for; what is returned is right."""
    compute = Compute(numbers)
    for number, found in zip(numbers, vectors.of(np.array(numbers), compute), strict=True):
        torch.testing.assert_close(found, vectors_of(number).half().float(), rtol=0, atol=0)
    return compute.asked


def test_what_was_computed_is_read(tmp_path):
    vectors = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY)
    assert asked(vectors, [3, 0, 3]) == [3, 0, 3]
    assert asked(vectors, [0, 7, 3]) == [7]
    assert asked(TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY), [7, 19, 0, 3]) == [19]


def test_kept_within_the_bytes(tmp_path, caplog):
    caplog.set_level("INFO", "pyserini_tasb")
    size = 2 * DIMENSION
    vectors = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, 10 * size)
    assert asked(vectors, [4, 3, 2, 0]) == [4, 3, 2, 0]  # 5 and 4 tokens; 3 more are too many
    assert f"{tmp_path / 'tokens'} has the token vectors of 2 of 20 texts" in caplog.text
    assert asked(vectors, [2, 4, 0, 3]) == [2, 0]
    assert (tmp_path / "tokens" / "vectors.fp16").stat().st_size == 9 * size
    assert asked(TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY), [4, 3, 2, 0]) == [2, 0]


def test_a_full_disk_ends_the_keeping_and_not_the_training(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "pyserini_tasb")
    vectors = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY)
    asked(vectors, [1])

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert asked(vectors, [1, 5]) == [5]
    assert "the disk refuses more (No space left on device); the teacher computes others" in caplog.text


@pytest.mark.parametrize("damage", ["other bytes", "cut", "gone", "entries cut"])
def test_damaged_vectors_are_computed_again(tmp_path, damage):
    """A machine that stopped may leave an entry on the disk, and not its vectors."""
    vectors = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY)
    asked(vectors, [1, 5])
    path = tmp_path / "tokens" / ("entries" if damage == "entries cut" else "vectors.fp16")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if "cut" in damage else content[:-1] + bytes([content[-1] ^ 1]))
    again = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY)
    assert asked(again, [1, 5]) == {"other bytes": [5], "cut": [5], "gone": [1, 5], "entries cut": [1, 5]}[damage]
    assert asked(again, [1, 5]) == []


def test_what_fp16_cannot_hold_is_computed_each_time(tmp_path):
    vectors = TokenVectors(tmp_path / "tokens", TEXTS, DIMENSION, MANY)
    for _ in range(2):
        (found,) = vectors.of(np.array([0]), lambda _positions: [torch.full((1, DIMENSION), 1e6)])
        assert torch.isinf(found).all()
    assert len(vectors) == 0


BATCH = 5
CAPS = {"query_max_length": 20, "passage_max_length": 40}
STUDENT = {"model": str(TINY_MODEL), "dropout": 0.0, "attention_dropout": 0.0, **CAPS}
CACHE = ["teacher.token_cache_gb=0.01"]


@pytest.fixture(scope="module")
def colbert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colbert")
    save_colbert(folder, new_colbert(TINY_MODEL, dimension=12, seed=3))
    AutoTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return folder


@pytest.fixture
def trained(training_set, colbert, tmp_path):
    """Train in a folder of its own; the run's folder."""

    def run(name, *settings, **sections):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        usual = {
            "name": f"{tmp_path.name}-{name}".lower(),
            "teacher": {"in_batch": str(colbert)},
            "student": STUDENT,
            "batch_size": BATCH,
        }
        train(training_set.config(folder, **usual | sections), settings=settings)
        return folder / "run"

    return run


@pytest.fixture
def computed(monkeypatch):
    """How many texts of batches the ColBERT computed, call by call; not those that margins are measured on."""
    vectors, counts = ColBertScorer.vectors, []

    def counted(self, token_ids):
        if len(token_ids) <= 2 * BATCH:
            counts.append(len(token_ids))
        return vectors(self, token_ids)

    monkeypatch.setattr(ColBertScorer, "vectors", counted)
    return counts


def losses(run):
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [step["in_batch"] for step in records if step["kind"] == "step"]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("prefix", ["", "about "])
def test_losses_of_kept_vectors(trained, computed, prefix):
    """With a prefix of the student's, the teacher reads tokens of its own."""
    student = STUDENT | {"passage_prefix": prefix}
    live = trained("live", max_steps=12, student=student)
    everything = sum(computed)
    computed.clear()
    kept = trained("kept", *CACHE, max_steps=12, student=student)
    assert sum(computed) < 0.8 * everything
    assert losses(kept) == pytest.approx(losses(live), rel=2e-3)
    assert len(list((kept / "teacher-vectors").glob("tokens-0-of-1-*"))) == 1


def test_a_run_goes_on_to_the_same_bits_with_the_vectors_or_without(trained, computed):
    whole = trained("whole", *CACHE, max_steps=6)
    begun = trained("begun", *CACHE, max_steps=3)
    computed.clear()
    trained("begun", *CACHE, max_steps=6)
    again = sum(computed)
    assert weights(begun) == weights(whole)
    other = trained("other", *CACHE, max_steps=3)
    shutil.rmtree(other / "teacher-vectors")
    computed.clear()
    trained("other", "teacher.token_cache_gb=0.0001", max_steps=6)
    assert sum(computed) > again
    assert weights(other) == weights(whole)


def test_two_processes_keep_vectors_of_their_own(training_set, colbert, tmp_path):
    found = {}
    for processes in (1, 2):
        folder = tmp_path / f"processes-{processes}"
        folder.mkdir()
        teacher = {"in_batch": str(colbert), "token_cache_gb": 0.01}
        config = training_set.config(folder, teacher=teacher, student=STUDENT, batch_size=BATCH)
        tasb_processes(processes, "train", config, "--set", "device=cpu")
        found[processes] = losses(folder / "run")
    assert found[2] == pytest.approx(found[1], rel=1e-5)
    names = {path.name.rpartition("-")[0] for path in (tmp_path / "processes-2" / "run" / "teacher-vectors").iterdir()}
    assert names == {"tokens-0-of-2", "tokens-1-of-2"}


def test_vectors_of_another_model_go(trained, tmp_path):
    run = trained("run", *CACHE, max_steps=2)
    (before,) = (run / "teacher-vectors").iterdir()
    shutil.rmtree(run / "checkpoints")
    for path in run.iterdir():
        if path.is_file():
            path.unlink()
    shutil.rmtree(run / "model")
    trained("run", *CACHE, max_steps=2, student=STUDENT | {"passage_max_length": 30})
    (after,) = (run / "teacher-vectors").iterdir()
    assert before != after


def test_a_bi_encoder_keeps_none(trained, training_set):
    with pytest.raises(
        TasbError, match=r"(?s)a ColBERT as `teacher.in_batch` with `teacher.token_cache_gb`.*bi-encoder"
    ):
        trained("run", *CACHE, teacher={"in_batch": f"tasb:{training_set.teacher}"})
