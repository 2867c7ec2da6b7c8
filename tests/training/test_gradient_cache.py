"""Chunks, cached or not: the same vectors and gradients, and memory for one chunk only."""

from __future__ import annotations

import pytest
import torch

from pyserini_tasb.models import on_cpu
from pyserini_tasb.training.config import StudentConfig
from pyserini_tasb.training.step import Encoded
from pyserini_tasb.training.students import load_student
from tests.conftest import TINY_MODEL


def load():
    return load_student(StudentConfig(model=str(TINY_MODEL), dropout=0.2), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def student():
    return load()


@pytest.fixture
def padding_student(monkeypatch):
    """As all but BERT and DistilBERT."""
    monkeypatch.setattr(on_cpu, "pack_texts", lambda _: None)
    return load()


@pytest.fixture(scope="module")
def token_ids(student, collection):
    return student.tokenizer(collection.titles[:12], truncation=True, max_length=30)["input_ids"]


def encode(student, token_ids, **options):
    return Encoded(student, token_ids, **{"tokens_per_forward": 40, "cached": False, "seed": 5} | options)


def gradients(student, texts):
    student.model.zero_grad()
    (texts.outputs @ texts.outputs.T).pow(2).mean().backward()
    texts.backward()
    return {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}


def saved_bytes(work):
    """Activations that autograd keeps."""
    largest = total = 0

    def keep(tensor):
        nonlocal largest, total
        total += tensor.nbytes
        largest = max(largest, total)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return total


def test_the_cache_changes_no_gradient_though_there_is_dropout(student, token_ids):
    plain, cached = (encode(student, token_ids, cached=cached) for cached in (False, True))
    torch.testing.assert_close(plain.outputs, cached.outputs)
    expected = gradients(student, plain)
    found = gradients(student, cached)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_dropout_follows_the_seed(student, token_ids):
    one, same, other = (encode(student, token_ids, seed=seed).outputs for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("packed", [True, False])
def test_chunks_change_nothing_but_padding(packed, student, padding_student, token_ids):
    student = student if packed else padding_student
    assert student.packed == packed
    student.model.eval()  # dropout goes by chunk
    try:
        whole, parts = (encode(student, token_ids, tokens_per_forward=budget) for budget in (10_000, 40))
        torch.testing.assert_close(whole.outputs, parts.outputs, atol=1e-5, rtol=1e-5)
        expected, found = gradients(student, whole), gradients(student, parts)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-3, rtol=1e-3)
    finally:
        student.model.train()
    assert whole.tokens == parts.tokens == sum(map(len, token_ids))
    if packed:
        assert parts.tokens == parts.tokens_with_padding == whole.tokens_with_padding
    else:
        assert parts.tokens <= parts.tokens_with_padding < whole.tokens_with_padding


def test_the_cache_keeps_no_activations(student, token_ids):
    several = token_ids * 8
    plain = saved_bytes(lambda: encode(student, several))
    cached = saved_bytes(lambda: encode(student, several, cached=True))
    assert cached == 0
    texts = encode(student, several, cached=True)
    texts.outputs.grad = torch.ones_like(texts.outputs)
    chunks = texts.tokens_with_padding / 40
    one_chunk = saved_bytes(texts.backward) / chunks
    assert chunks > 10
    assert one_chunk < plain / 8
