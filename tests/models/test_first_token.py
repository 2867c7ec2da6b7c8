"""The last layer that computes the first token alone: the same vectors and gradients, with less work."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from pyserini_tasb.models.bert_dot import BertDot
from pyserini_tasb.models.on_cpu import prepare_for_cpu, seed_cpu_dropout

pytestmark = pytest.mark.bare

SIZES = {"vocab_size": 50, "max_position_embeddings": 20}
BERT = BertConfig(**SIZES, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
DISTILBERT = DistilBertConfig(**SIZES, dim=8, n_layers=3, n_heads=2, hidden_dim=32)
MPNET = MPNetConfig(**SIZES, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
MODELS = [(BertModel, BERT), (DistilBertModel, DISTILBERT)]


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(3, 50, (4, 10))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[2, 1:] = 0
    return ids, mask


def both(model, config, attention="sdpa"):
    """A transformer as it comes, and a copy of it in a BertDot."""
    torch.manual_seed(1)
    transformer = model(config).eval()
    transformer.set_attn_implementation(attention)
    return transformer, BertDot(copy.deepcopy(transformer)).eval()


@pytest.mark.parametrize(("model", "config"), [*MODELS, (MPNetModel, MPNET)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [True, False])
def test_vectors_are_the_same(model, config, attention, padded, texts):
    ids, mask = texts if padded else (texts[0], torch.ones_like(texts[0]))
    plain, ours = both(model, config, attention)
    with torch.inference_mode():
        expected = plain(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        torch.testing.assert_close(ours(ids, mask), expected)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_gradients_are_the_same(model, config, on_cpu, texts):
    ids, mask = texts
    plain, ours = both(model, config)
    if on_cpu:
        prepare_for_cpu(ours.transformer)
    direction = torch.randn(4, 8)
    (plain(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0] * direction).sum().backward()
    (ours(ids, mask) * direction).sum().backward()
    gradients = dict(ours.transformer.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, msg=name)


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_the_last_layer_does_less(model, config, texts):
    plain, ours = both(model, config)
    counts = []
    for run in (lambda: plain(input_ids=texts[0], attention_mask=texts[1]), lambda: ours(*texts)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            run()
        counts.append(counter.get_total_flops())
    # Of 12 weights' worth of multiplications a layer, the keys' and values' 2 are left, and a tenth of the others.
    assert 0.7 < counts[1] / counts[0] < 0.78
    assert ours.first_token_only


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_dropout_is_drawn_in_it_too_with_gradients_or_without(model, config, texts):
    _, ours = both(model, config)
    prepare_for_cpu(ours.transformer)
    exact = ours(*texts)
    for module in ours.transformer.modules():
        if type(module).__name__ == "CpuDropout":
            module.p = 0.0
    attention = (ours.transformer.encoder if model is BertModel else ours.transformer.transformer).layer[-1].attention
    (attention.self if model is BertModel else attention).dropout.p = 0.5
    ours.train()
    seed_cpu_dropout(7)
    first = ours(*texts)
    seed_cpu_dropout(7)
    with torch.no_grad():  # as in the first pass of a gradient cache
        again = ours(*texts)
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, exact)


def test_weights_keep_their_names_and_other_models_their_layers():
    plain, ours = both(BertModel, BERT)
    assert list(plain.state_dict()) == list(ours.transformer.state_dict())
    kinds = [type(layer) for layer in both(MPNetModel, MPNET)[1].transformer.encoder.layer]
    assert len(set(kinds)) == 1
    assert not both(MPNetModel, MPNET)[1].first_token_only


def test_mean_pooling_has_all_tokens(texts):
    torch.manual_seed(1)
    transformer = BertModel(BERT).eval()
    ours = BertDot(transformer, pooling="mean").eval()
    assert not ours.first_token_only
    assert transformer(input_ids=texts[0], attention_mask=texts[1]).last_hidden_state.shape == (4, 10, 8)
