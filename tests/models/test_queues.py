"""Batches on their way to a model: the vectors of one batch after the other, in the order in which they were begun."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.bert_dot import BertDot
from pyserini_tasb.models.on_gpu import pack_texts
from pyserini_tasb.models.queues import OneByOne, TorchQueue, in_turn, queue_of, vectors_by_length
from pyserini_tasb.models.tokenizers import joined, padded_arrays
from tests.models.packed_attention import each_by_itself

pytestmark = pytest.mark.bare

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
LENGTHS = (9, 1, 4, 9, 2, 7, 5, 3)
PAD = 0


@pytest.fixture
def texts():
    random = np.random.default_rng(0)
    return [random.integers(3, 50, length).tolist() for length in LENGTHS]


class Model:
    """A model with the part of `TorchModel` that a queue needs.

    Args:
        ahead: whether it has a queue; on a CPU, `TorchModel` has none.
        packs: whether its texts are packed.
    """

    dimension, tokens_per_batch = 16, 20

    def __init__(self, *, ahead=True, packs=False):
        torch.manual_seed(0)
        config = DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
        self.module = BertDot(DistilBertModel(config)).eval().to(DEVICE)
        if packs:
            pack_texts(self.module.transformer, each_by_itself)
        if ahead:
            self.queue = lambda pad_id: TorchQueue(self.module, DEVICE, pad_id, packs=packs)

    def vectors(self, ids, mask):
        with torch.inference_mode():
            return self.module(torch.from_numpy(ids).to(DEVICE), torch.from_numpy(mask).to(DEVICE)).cpu().numpy()


@pytest.mark.parametrize("packs", [False, True])
def test_a_queue_gives_the_bytes_of_one_batch_after_the_other(packs, texts):
    model = Model(packs=packs)
    queue = queue_of(model, PAD)
    assert isinstance(queue, TorchQueue)
    one_by_one = vectors_by_length(model, texts, pad_id=PAD, dimension=16)
    queued = vectors_by_length(model, texts, pad_id=PAD, dimension=16, queue=queue)
    np.testing.assert_array_equal(queued, one_by_one)
    for text, vector in zip(texts, queued, strict=True):
        np.testing.assert_allclose(model.vectors(np.array([text]), np.ones((1, len(text)), int))[0], vector, atol=1e-5)


def test_a_model_without_a_queue_computes_at_once(texts):
    queue = queue_of(Model(ahead=False), PAD)
    assert (type(queue), queue.ahead) == (OneByOne, 0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("other vectors", "the queue gave other vectors"), ("an error", "the queue failed (no memory)")],
)
def test_a_queue_that_is_wrong_is_not_used(fault, said, texts, caplog):
    model = Model()
    expected = vectors_by_length(model, texts, pad_id=PAD, dimension=16)
    if fault == "other vectors":  # as a back end from outside has, which inherits the queue and changes `vectors`
        once = model.vectors
        model.vectors = lambda ids, mask: 2 * once(ids, mask)
        expected *= 2
    else:

        def refuse(_ids, _mask):
            raise RuntimeError("no memory\nat all")

        model.queue = lambda pad_id: TorchQueue(refuse, DEVICE, pad_id)
    queue = queue_of(model, PAD)
    assert isinstance(queue, OneByOne)
    assert caplog.messages[0].startswith("batches are computed one after the other")
    assert caplog.messages[0].endswith(said)
    np.testing.assert_array_equal(vectors_by_length(model, texts, pad_id=PAD, dimension=16, queue=queue), expected)


@pytest.mark.parametrize("ahead", [0, 1, 3, 10])
def test_batches_come_back_in_their_order(ahead):
    happened = []

    def begun():
        for number in range(5):
            happened.append(f"begin {number}")
            yield number, lambda number=number: happened.append(f"wait {number}") or number

    assert list(in_turn(begun(), ahead)) == [(number, number) for number in range(5)]
    for number in range(5):
        behind = [f"begin {other}" for other in range(min(5, number + ahead + 1))]
        assert set(behind) <= set(happened[: happened.index(f"wait {number}")])
        assert f"begin {number + ahead + 1}" not in happened[: happened.index(f"wait {number}")]


def test_vectors_of_another_shape_are_refused(texts):
    model = Model(ahead=False)
    model.vectors = lambda ids, _mask: np.zeros((len(ids), 1), np.float32)
    with pytest.raises(TasbError, match=r"vectors of shape \(2, 16\) from the back end\n.*\(2, 1\)"):
        vectors_by_length(model, texts, pad_id=PAD, dimension=16)


def test_padding_is_on_the_right():
    ids, mask = padded_arrays(joined([[5, 6], [7], [8, 9, 4]]), np.array([2, 1, 3]), 1)
    assert ids.tolist() == [[5, 6, 1], [7, 1, 1], [8, 9, 4]]
    assert mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert ids.dtype == mask.dtype == np.int64
