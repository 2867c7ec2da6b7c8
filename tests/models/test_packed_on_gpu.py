"""Packed texts as GPUs compute them: the vectors and gradients of padded ones, or a line that says why not.

A loop over the texts replaces the kernel of a GPU, so all this runs on a CPU too. `tests/test_on_a_gpu.py` compares
the two.
"""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from pyserini_tasb.models.bert_cat import BertCat
from pyserini_tasb.models.bert_dot import BertDot
from pyserini_tasb.models.on_gpu import device_of_inputs, pack_if_right, pack_texts, prepare_for_gpu
from pyserini_tasb.models.packing import packs_texts
from pyserini_tasb.training.step import Encoded
from pyserini_tasb.training.students import DualEncoder
from tests.models.packed_attention import each_by_itself

pytestmark = pytest.mark.bare

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
LONGEST = 140  # more than two blocks of keys in a GPU's kernel
SIZES = {"vocab_size": 50, "max_position_embeddings": LONGEST, "initializer_range": 0.2}
BERT = BertConfig(**SIZES, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
DISTILBERT = DistilBertConfig(**SIZES, dim=16, n_layers=3, n_heads=2, hidden_dim=32)
MPNET = MPNetConfig(**SIZES, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
MODELS = [pytest.param(BertModel, BERT, id="BERT"), pytest.param(DistilBertModel, DISTILBERT, id="DistilBERT")]
LENGTHS = {
    "various": [7, 31, 1, 12, 31, 4, 30],
    "one length": [9, 9, 9],
    "one text": [5],
    "one token": [1],
    "the longest": [LONGEST, 2],
}


def new(model, config, seed=1):
    """A model on the device, with a configuration of its own: the choice of attention is written into it."""
    torch.manual_seed(seed)
    return model(copy.deepcopy(config)).to(DEVICE)


def some_texts(lengths):
    torch.manual_seed(0)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return torch.randint(3, 50, mask.shape) * mask, mask


def both(model, config, pooling="cls", wrap=BertDot):
    """One that pads, and a copy of it that packs."""
    transformer = new(model, config).eval()
    models = []
    for packs in (False, True):
        models.append(wrap(copy.deepcopy(transformer), *([pooling] if wrap is BertDot else [])).to(DEVICE).eval())
        torch.manual_seed(2)
        if wrap is BertCat:
            models[-1].head.reset_parameters()
        if packs:
            pack_texts(models[-1].transformer, each_by_itself)
    return models


def require_same(expected, found):
    gradients = dict(found.named_parameters())
    for name, parameter in expected.named_parameters():
        if parameter.grad is None:
            assert gradients[name].grad is None, name
        else:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_vectors_and_gradients_are_the_same(model, config, pooling, lengths):
    padding, packing = both(model, config, pooling)
    assert packs_texts(packing.transformer)
    ids, mask = some_texts(lengths)
    direction, vectors = torch.randn(len(lengths), 16, device=DEVICE), []
    for bert_dot, device in ((padding, DEVICE), (packing, "cpu")):
        vectors.append(bert_dot(ids.to(device), mask.to(device)))
        (vectors[-1] * direction).sum().backward()
    torch.testing.assert_close(vectors[1], vectors[0], rtol=1e-5, atol=1e-5)
    require_same(padding, packing)
    # Inputs may also be where the model is.
    assert torch.equal(packing(ids.to(DEVICE), mask.to(DEVICE)), vectors[1])


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("wider", [0, 5])
def test_every_token_has_its_vector(model, config, wider):
    padding, packing = (bert_dot.transformer for bert_dot in both(model, config, "mean"))
    ids, mask = (torch.nn.functional.pad(each, (0, wider)).to(DEVICE) for each in some_texts(LENGTHS["various"]))
    expected, found = (each(input_ids=ids, attention_mask=mask) for each in (padding, packing))
    assert found.last_hidden_state.shape == expected.last_hidden_state.shape
    seen = mask.bool()
    torch.testing.assert_close(found.last_hidden_state[seen], expected.last_hidden_state[seen], rtol=1e-5, atol=1e-5)
    if model is BertModel:
        torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=1e-5, atol=1e-5)


def test_segments_are_packed_too():
    padding, packing = both(BertModel, BERT, wrap=BertCat)
    ids, mask = some_texts(LENGTHS["various"])
    segments = (torch.arange(mask.shape[1]) > 2).long() * mask
    scores = [padding(*(each.to(DEVICE) for each in (ids, mask, segments))), packing(ids, mask, segments)]
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-5, atol=1e-5)


def test_a_text_without_tokens_disturbs_no_other():
    padding, packing = both(BertModel, BERT)
    ids, mask = some_texts([4, 6, 3])
    mask[1] = 0
    expected, found = (each(ids.to(DEVICE), mask.to(DEVICE)) for each in (padding, packing))
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=1e-5, atol=1e-5)
    assert found.isfinite().all()


@pytest.mark.parametrize(("model", "config"), MODELS)
def test_padding_costs_nothing(model, config):
    _, packing = both(model, config)
    counts = []
    for longer in (0, 9):
        wider = [torch.nn.functional.pad(each, (0, longer)) for each in some_texts(LENGTHS["various"])]
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            packing(*wider)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


class Operators(TorchDispatchMode):
    """Names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_nothing_asks_the_gpu_for_a_number(pooling):
    """A number has to wait for it, and so has a result whose size depends on values."""
    model = BertDot(new(DistilBertModel, DISTILBERT), pooling)
    transformer = model.transformer
    pack_texts(transformer, each_by_itself)
    texts = some_texts(LENGTHS["various"])
    # The loop over the texts asks, and a kernel does not.
    hook = next(iter(transformer._forward_pre_hooks.values()))
    packing = hook._pack(transformer, texts[1])
    packing._attend = lambda query, *_: query.clone()
    hook._pack = lambda *_: packing
    with Operators() as called:
        model(*texts).sum().backward()
    assert "mm" in called.names or "addmm" in called.names
    assert not called.names & {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "equal", "is_nonzero"}


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_dropout_comes_from_the_seed(model, config, pooling):
    _, packing = both(model, config, pooling)
    texts = some_texts(LENGTHS["various"])
    exact = packing(*texts)
    packing.train()
    for module in packing.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.testing.assert_close(packing(*texts), exact)
    layers = (packing.transformer.encoder if model is BertModel else packing.transformer.transformer).layer
    for layer in (layers[0], layers[-1]):  # the last one computes only the first token, with CLS pooling
        dropout = (layer.attention.self if model is BertModel else layer.attention).dropout
        dropout.p = 0.5
        found = []
        for seed in (7, 7, 8):
            torch.manual_seed(seed)
            found.append(packing(*texts))
        dropout.p = 0.0
        assert torch.equal(found[0], found[1])
        assert not torch.allclose(found[0], found[2])
        assert not torch.allclose(found[0], exact)


@pytest.mark.parametrize("cached", [False, True])
def test_gradients_of_a_training_step(cached):
    """With dropout, also where a gradient cache encodes each chunk a second time."""
    gradients = []
    for packs in (False, True):
        model = BertDot(new(DistilBertModel, DISTILBERT)).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.2 if packs and cached else 0.0
        if packs:
            pack_texts(model.transformer, each_by_itself)
        student = DualEncoder(model, None, SimpleNamespace(pad_token_id=0), DEVICE, torch.float32)
        assert (student.packed, student.reads_on) == ((True, "cpu") if packs else (False, DEVICE))
        ids, mask = some_texts(LENGTHS["various"])
        items = [text[seen.bool()].tolist() for text, seen in zip(ids, mask, strict=True)]
        for way in (False, True) if packs and cached else (cached,):
            model.zero_grad()
            encoded = Encoded(student, items, tokens_per_forward=64, cached=way, seed=5)
            encoded.outputs.square().sum().backward()
            encoded.backward()
            gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, expected in gradients[-2].items():
        torch.testing.assert_close(gradients[-1][name], expected, rtol=1e-4, atol=1e-5, msg=name)


def all_together(query, key, value, texts, of_keys, dropout, scale):
    """Texts attend to each other."""
    one = SimpleNamespace(ends=torch.tensor([0, len(query)])), SimpleNamespace(ends=torch.tensor([0, len(key)]))
    return each_by_itself(query, key, value, *one, dropout, scale)


def without_the_last_token(query, key, value, texts, of_keys, dropout, scale):
    shorter = of_keys.ends.tolist()
    parts = [
        each_by_itself(
            query[start:end],
            key[first : max(first + 1, last - 1)],
            value[first : max(first + 1, last - 1)],
            SimpleNamespace(ends=torch.tensor([0, end - start])),
            SimpleNamespace(ends=torch.tensor([0, max(1, last - first - 1)])),
            dropout,
            scale,
        )
        for start, end, first, last in zip(
            texts.ends.tolist()[:-1], texts.ends.tolist()[1:], shorter[:-1], shorter[1:], strict=True
        )
    ]
    return torch.cat(parts)


def with_another_scale(*arguments):
    return each_by_itself(*arguments[:-1], 2 * arguments[-1])


def without_numbers(*arguments):
    return each_by_itself(*arguments) * float("nan")


def of_no_such_gpu(*_):
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nmore lines")


def of_another_version(_query, _key):
    raise AssertionError("it takes other arguments")


def with_wrong_gradients(query, key, value, *rest):
    """The right vectors, and gradients that lack the keys' part."""
    return each_by_itself(query, key.detach(), value, *rest)


def with_smaller_gradients(query, key, value, *rest):
    """The right vectors, and nine tenths of the values' part."""
    return each_by_itself(query, key, 0.9 * value + 0.1 * value.detach(), *rest)


POOLED = [pytest.param(BertModel, BERT, "cls", id="BERT"), pytest.param(DistilBertModel, DISTILBERT, "mean", id="mean")]


@pytest.mark.parametrize(("model", "config", "pooling"), POOLED)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("trained", [False, True])
def test_a_trial_accepts_what_only_rounds_otherwise(model, config, kind, pooling, trained, caplog):
    bert_dot = BertDot(new(model, config), pooling).to(torch.float32 if trained else kind)
    random = torch.get_rng_state()
    assert pack_if_right(bert_dot.transformer, kind, each_by_itself, trained=trained)
    assert torch.equal(torch.get_rng_state(), random)
    assert not caplog.records
    assert all(weight.grad is None for weight in bert_dot.parameters())
    assert bert_dot.training
    assert device_of_inputs(bert_dot.transformer, "cuda:1") == "cpu"


@pytest.mark.parametrize(
    ("attend", "trained"),
    [
        (all_together, False),
        (without_the_last_token, False),
        (with_another_scale, False),
        (without_numbers, False),
        (of_no_such_gpu, False),
        (of_another_version, False),
        (with_wrong_gradients, True),
        (with_smaller_gradients, True),
    ],
)
@pytest.mark.parametrize(("model", "config", "pooling"), POOLED)
def test_a_trial_refuses_a_wrong_kernel(model, config, pooling, attend, trained, caplog):
    bert_dot = BertDot(new(model, config), pooling).eval().to(torch.float32 if trained else torch.bfloat16)
    transformer, texts = bert_dot.transformer, [each.to(DEVICE) for each in some_texts(LENGTHS["various"])]
    expected, weights = bert_dot(*texts), copy.deepcopy(bert_dot.state_dict())
    with caplog.at_level(logging.WARNING):
        assert not pack_if_right(transformer, torch.bfloat16, attend, trained=trained)
    (record,) = caplog.records
    assert record.getMessage().startswith("texts are not packed on this GPU, and padding is computed: ")
    assert "\n" not in record.getMessage()
    if attend is of_no_such_gpu:
        assert record.getMessage().endswith("only supports Ampere GPUs or newer.")
    # All is as it was.
    assert not packs_texts(transformer)
    assert device_of_inputs(transformer, "cuda:1") == "cuda:1"
    assert transformer.config._attn_implementation == "sdpa"
    assert torch.equal(bert_dot(*texts), expected)
    assert all(torch.equal(weight, weights[name]) for name, weight in bert_dot.state_dict().items())


def test_other_models_and_cpus_stay_as_they_are():
    mpnet = new(MPNetModel, MPNET)
    assert not pack_if_right(mpnet, torch.bfloat16, each_by_itself)
    bert = BertModel(copy.deepcopy(BERT))
    prepare_for_gpu(bert, torch.bfloat16)
    prepare_for_gpu(bert.to(DEVICE), torch.float32)
    assert not packs_texts(bert)


def test_a_saved_model_knows_nothing_of_it(tmp_path):
    transformer = new(DistilBertModel, DISTILBERT)
    names = list(transformer.state_dict())
    pack_texts(transformer, each_by_itself)
    assert list(transformer.state_dict()) == names
    transformer.save_pretrained(tmp_path)
    assert "tasb" not in (tmp_path / "config.json").read_text()
    again = DistilBertModel.from_pretrained(tmp_path)
    assert not packs_texts(again)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in transformer.state_dict().items())
