"""Dropout on CPUs: the right share, scale and gradient, and attention that is otherwise the stock one."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from pyserini_tasb.models.on_cpu import CpuDropout, apply_dropout, prepare_for_cpu, seed_cpu_dropout
from tests.conftest import TINY_MODEL

SIZES = {"vocab_size": 50, "max_position_embeddings": 20}
BERT = BertConfig(**SIZES, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
DISTILBERT = DistilBertConfig(**SIZES, dim=8, n_layers=2, n_heads=2, hidden_dim=16)
MPNET = MPNetConfig(**SIZES, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_share_and_scale(p, kind):
    seed_cpu_dropout(1)
    values = apply_dropout(torch.ones(1001, 101, dtype=kind), p)
    kept = values != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=0.005)
    assert values[kept].unique().tolist() == [torch.tensor(1 / (1 - p), dtype=kind).item()]
    # No direction is favoured: every column loses its share.
    assert float((~kept).float().mean(dim=0).std()) < 0.03


def test_same_seed_same_zeros_and_another_seed_others():
    masks = []
    for seed in (1, 1, 2):
        seed_cpu_dropout(seed)
        masks.append(apply_dropout(torch.ones(64, 64), 0.3))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_the_gradient_passes_where_the_value_did():
    seed_cpu_dropout(3)
    values = torch.randn(50, 50, requires_grad=True)
    out = apply_dropout(values, 0.25)
    out.sum().backward()
    assert torch.equal(values.grad != 0, out != 0)
    assert values.grad.unique().tolist() == pytest.approx([0, 1 / 0.75])


@pytest.mark.parametrize(("model", "config"), [(BertModel, BERT), (DistilBertModel, DISTILBERT), (MPNetModel, MPNET)])
def test_without_dropout_a_model_computes_what_it_did(model, config):
    torch.manual_seed(0)
    transformer = model(config).eval()
    ids = torch.randint(3, 50, (3, 10))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[2, 3:] = 0
    before = transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    before[:, 0].sum().backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in transformer.named_parameters() if parameter.grad is not None
    }
    transformer.zero_grad()
    prepare_for_cpu(transformer)
    after = transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()])
    after[:, 0].sum().backward()
    for name, parameter in transformer.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], msg=name)


@pytest.mark.parametrize(("model", "config"), [(BertModel, BERT), (DistilBertModel, DISTILBERT), (MPNetModel, MPNET)])
def test_every_dropout_is_replaced_also_on_attention(model, config):
    transformer = model(config).train()
    prepare_for_cpu(transformer)
    assert not [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Dropout)]
    for module in transformer.modules():
        if isinstance(module, CpuDropout):
            module.p = 0.0
    ids, vectors = torch.randint(3, 50, (3, 10)), []
    on_attention = [
        module for name, module in transformer.named_modules()
        if isinstance(module, CpuDropout) and "attention" in name and "output" not in name
    ]  # fmt: skip
    for p in (0.0, 0.0, 0.5):
        for module in on_attention:
            module.p = p
        seed_cpu_dropout(1)
        vectors.append(transformer(input_ids=ids).last_hidden_state)
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.allclose(vectors[0], vectors[2])


def test_a_saved_model_knows_nothing_of_it(tmp_path):
    transformer = AutoModel.from_pretrained(TINY_MODEL)
    prepare_for_cpu(transformer)
    transformer.save_pretrained(tmp_path)
    assert "tasb" not in (tmp_path / "config.json").read_text()
    again = AutoModel.from_pretrained(tmp_path)
    for name, weights in AutoModel.from_pretrained(TINY_MODEL).state_dict().items():
        assert torch.equal(again.state_dict()[name], weights), name
