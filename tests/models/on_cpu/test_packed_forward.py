"""Packed texts: the same vectors, scores and gradients as with padding, for less work."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from pyserini_tasb.models import on_cpu
from pyserini_tasb.models.bert_cat import BertCat
from pyserini_tasb.models.bert_dot import BertDot
from pyserini_tasb.models.on_cpu import CpuPacking, prepare_for_cpu
from pyserini_tasb.models.packing import packs_texts
from pyserini_tasb.models.tokenizers import batches_by_length

pytestmark = pytest.mark.bare

SIZES = {"vocab_size": 50, "max_position_embeddings": 40}
BERT = BertConfig(**SIZES, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
DISTILBERT = DistilBertConfig(**SIZES, dim=8, n_layers=3, n_heads=2, hidden_dim=32)
MPNET = MPNetConfig(**SIZES, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
MODELS = [(BertModel, BERT), (DistilBertModel, DISTILBERT)]
LENGTHS = np.array([7, 31, 1, 12, 31, 4, 30])


@pytest.fixture(autouse=True)
def several_rectangles(monkeypatch):
    monkeypatch.setattr(on_cpu, "TOKENS_PER_RECTANGLE", 64)


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = (torch.arange(LENGTHS.max()) < torch.from_numpy(LENGTHS)[:, None]).long()
    return torch.randint(3, 50, mask.shape) * mask, mask


def transformers(model, config):
    """One that pads, and a copy of it that packs."""
    torch.manual_seed(1)
    padding = model(config).eval()
    packing = copy.deepcopy(padding)
    prepare_for_cpu(packing)
    return padding, packing


def require_same_gradients(expected, found):
    gradients = dict(found.named_parameters())
    for name, parameter in expected.named_parameters():
        if parameter.grad is None:
            assert gradients[name].grad is None, name
        else:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, msg=name)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_and_gradients_are_the_same(model, config, pooling, texts):
    padding, packing = (BertDot(transformer, pooling) for transformer in transformers(model, config))
    assert packs_texts(packing.transformer)
    direction, vectors = torch.randn(len(LENGTHS), 8), []
    for bert_dot in (padding, packing):
        vectors.append(bert_dot(*texts))
        (vectors[-1] * direction).sum().backward()
    torch.testing.assert_close(vectors[1], vectors[0])
    require_same_gradients(padding, packing)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("wider", [0, 5])
@pytest.mark.parametrize("some", [slice(None), slice(0, 1), slice(3, 4)])
def test_every_token_has_its_vector(model, config, texts, wider, some):
    ids, mask = (torch.nn.functional.pad(each[some], (0, wider)) for each in texts)
    padding, packing = transformers(model, config)
    expected, found = (each(input_ids=ids, attention_mask=mask) for each in (padding, packing))
    assert found.last_hidden_state.shape == expected.last_hidden_state.shape
    seen = mask.bool()
    torch.testing.assert_close(found.last_hidden_state[seen], expected.last_hidden_state[seen])
    if model is BertModel:
        torch.testing.assert_close(found.pooler_output, expected.pooler_output)


def test_segments_are_packed_too(texts):
    ids, mask = texts
    segments = (torch.arange(mask.shape[1]) > 2).long() * mask
    head, scores = torch.nn.Linear(8, 1), []
    cats = [BertCat(transformer) for transformer in transformers(BertModel, BERT)]
    for cat in cats:
        cat.head.load_state_dict(head.state_dict())
        scores.append(cat(ids, mask, segments))
        scores[-1].square().sum().backward()
    torch.testing.assert_close(scores[1], scores[0])
    require_same_gradients(*cats)


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_padding_costs_nothing(model, config, texts):
    ids, mask = texts
    _, packing = transformers(model, config)
    counts = []
    for longer in (0, 9):
        wider = [torch.nn.functional.pad(each, (0, longer)) for each in (ids, mask)]
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            packing(input_ids=wider[0], attention_mask=wider[1])
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_other_models_are_left_alone(texts):
    ids, mask = texts
    padding, packing = transformers(MPNetModel, MPNET)
    assert not packs_texts(packing)
    expected, found = (each(input_ids=ids, attention_mask=mask).last_hidden_state for each in (padding, packing))
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()])


def test_what_is_taken_apart_comes_together():
    packing = CpuPacking(LENGTHS, list(batches_by_length(LENGTHS, 64)), columns=31)
    assert packing.rows == 128  # for 116 tokens
    values = torch.randn(1, 2, 128, 3, requires_grad=True)
    rectangles = packing.apart(values)
    assert [len(each) for each in rectangles] == [2, 2, 3]  # 31 and 31, 30 and 12, 7, 4 and 1 tokens
    together = packing.together(rectangles)
    tokens, spare = slice(None, 116), slice(116, None)
    assert torch.equal(together[:, tokens], values.transpose(1, 2)[:, tokens])
    direction = torch.randn_like(together)
    (together * direction).sum().backward()
    assert torch.equal(values.grad[:, :, tokens], direction.transpose(1, 2)[:, :, tokens])
    assert not values.grad[:, :, spare].any()
    assert packing.positions[0, packing.first].tolist() == [0] * len(LENGTHS)


class Multiplied(TorchDispatchMode):
    """Sizes of the matrices that are multiplied."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function.overloadpacket in {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}:
            matrices = [each.shape for each in arguments if isinstance(each, torch.Tensor)]
            self.sizes.add((function.overloadpacket, *matrices))
        return function(*arguments, **(named or {}))


def test_sizes_recur_from_batch_to_batch():
    """For each new size, oneDNN compiles kernels, and keeps them."""
    _, packing = transformers(BertModel, BERT)
    multiplied = Multiplied()
    for seed in range(40):
        lengths = torch.from_numpy(np.random.default_rng(seed).integers(20, 33, 12))
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        with multiplied, torch.no_grad():
            packing(input_ids=mask, attention_mask=mask)
    assert len(multiplied.sizes) < 20  # 106 without rounding
