"""The same on a GPU as on the CPU: vectors, attention, losses and their gradients, ColBERT's scores, clusters, hits.

Without a GPU, the CPU is compared with itself, which shows that the tests run. They need little beside torch: see the
marker `bare`.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pyserini_tasb.data.kmeans import METRICS, kmeans
from pyserini_tasb.indexes.torch_search import TorchFlat
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.bert_dot import load_bert_dot
from pyserini_tasb.models.colbert import max_sim, max_sim_of_pairs
from pyserini_tasb.models.on_gpu import Texts, flash_attention, has_flash_attention
from pyserini_tasb.models.tokenizers import load_tokenizer, padded
from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE, InBatchScores, KnownPositives
from tests.conftest import TINY_MODEL
from tests.models.packed_attention import each_by_itself

pytestmark = pytest.mark.bare
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
ATTEND = flash_attention if has_flash_attention(torch.device(DEVICE)) else each_by_itself
SIZE, DIMENSION = 8, 16
TEXTS = ["what ranks passages", "a", "a longer text about computers and their programs", "systems of equations", ""]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def both(compute, *tensors):
    """The results of a function on the CPU and on the device, each with the gradients of the first tensor."""
    found = []
    for device in ("cpu", DEVICE):
        moved = [tensor.to(device) for tensor in tensors]
        first = moved[0].clone().requires_grad_()
        result = compute(first, *moved[1:])
        result.sum().backward()
        found.append((result.detach().cpu(), first.grad.cpu()))
    return found


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("bf16", 0.99)])
def test_vectors(precision, least):
    tokenizer = load_tokenizer(TINY_MODEL)
    ids = tokenizer(TEXTS)["input_ids"]
    found = []
    for device, kind in (("cpu", torch.float32), (DEVICE, compute_type(precision, DEVICE))):
        model = load_bert_dot(TINY_MODEL, precision=kind).to(device)
        with torch.inference_mode():
            found.append(model(*padded(ids, tokenizer.pad_token_id, device)).cpu())
    assert torch.nn.functional.cosine_similarity(*found).min() > least


def packed_attention(attend, device, kind, *, one_query=False, dropout=0.0, seed=0):
    """The result, and the gradients of queries, keys and values, for texts of one to several blocks of keys."""
    lengths = np.array([3, 130, 1, 64, 65, 300, 17])
    of_keys = Texts(lengths, torch.device(device))
    texts = Texts(np.ones_like(lengths), torch.device(device)) if one_query else of_keys
    rows = int(lengths.sum())
    parts = [
        drawn(len(lengths) if one_query and not part else rows, 4, 32, seed=part).to(device, kind).requires_grad_()
        for part in range(3)
    ]
    torch.manual_seed(seed)
    found = attend(*parts, texts, of_keys, dropout, 32**-0.5)
    (found.float() * drawn(*found.shape, seed=4).to(device)).sum().backward()
    return [found.detach(), *(part.grad for part in parts)]


@pytest.mark.parametrize("one_query", [False, True])
def test_attention_of_packed_texts(one_query):
    expected = packed_attention(each_by_itself, "cpu", torch.float32, one_query=one_query)
    found = packed_attention(ATTEND, DEVICE, torch.bfloat16, one_query=one_query)
    for one, other in zip(found, expected, strict=True):
        assert (one.cpu().float() - other).norm() < 0.02 * other.norm()


def test_attention_of_packed_texts_has_the_same_bits_each_time():
    first, again, other = (
        packed_attention(ATTEND, DEVICE, torch.bfloat16, dropout=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert all(torch.equal(*both) for both in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_dropout_of_packed_texts():
    """Attention to values that are all 1 is 1; with dropout, it is 1 on average."""
    texts = Texts(np.full(8, 200), torch.device(DEVICE))
    query, key = (drawn(1_600, 4, 32, seed=seed).to(DEVICE, torch.bfloat16) for seed in (0, 1))
    torch.manual_seed(0)
    found = ATTEND(query, key, torch.ones_like(key), texts, texts, 0.25, 32**-0.5).float()
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert 0.02 < float(found.std()) < 0.2


@pytest.mark.parametrize("name", [name for name in PAIRWISE if PAIRWISE.is_own(name)])
def test_pairwise_losses(name):
    loss = PAIRWISE[name]
    positives, negatives, margins = (drawn(SIZE, 4, seed=seed) for seed in range(3))

    def compute(positives, negatives, margins):
        # All negatives of a query are of one positive.
        own = positives[:, :1].expand(-1, 4)
        return loss(own, negatives, margins if loss.needs_margins else None)

    (expected, gradient), (found, on_device) = both(compute, positives, negatives, margins)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(on_device, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in IN_BATCH if IN_BATCH.is_own(name)])
def test_in_batch_losses(name):
    known = [torch.zeros(SIZE, SIZE, dtype=torch.bool) for _ in range(2)]
    known[1][0, 3] = True

    def compute(positives, negatives, teacher_positives, teacher_negatives, *known):
        teacher = InBatchScores(teacher_positives, teacher_negatives)
        return IN_BATCH[name](InBatchScores(positives, negatives), teacher, KnownPositives(*known))

    scores = [drawn(SIZE, SIZE, seed=seed) for seed in range(4)]
    (expected, gradient), (found, on_device) = both(compute, *scores, *known)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(on_device, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", [max_sim, max_sim_of_pairs])
def test_scores_of_colbert(function):
    queries, passages = drawn(SIZE, 5, DIMENSION), drawn(SIZE, 9, DIMENSION, seed=1)
    masks = [drawn(SIZE, tokens, seed=2) > -0.5 for tokens in (5, 9)]
    masks[1][:, 0] = True
    (expected, gradient), (found, on_device) = both(function, queries, masks[0], passages, masks[1])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(on_device, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_clusters(metric):
    vectors = (drawn(600, DIMENSION) + 4 * drawn(12, DIMENSION, seed=1).repeat(50, 1)).numpy()
    expected, found, again = (kmeans(vectors, 12, metric=metric, device=device) for device in ("cpu", DEVICE, DEVICE))
    assert np.mean(found.assignment == expected.assignment) > 0.99
    assert found.objective == pytest.approx(expected.objective, rel=1e-4)
    assert found.centroids.tobytes() == again.centroids.tobytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_hits(precision):
    vectors, queries = drawn(3_000, DIMENSION).numpy(), drawn(SIZE, DIMENSION, seed=1).numpy()
    exact = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    scores, rows = TorchFlat([vectors[:1_000], vectors[1_000:]], device=DEVICE, precision=precision).search(queries, 10)
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(exact, expected, axis=1), rtol=1e-6)


def test_gradients_of_a_model():
    start = load_bert_dot(TINY_MODEL)
    tokenizer = load_tokenizer(TINY_MODEL)
    ids = tokenizer(TEXTS)["input_ids"]
    gradients = []
    for device in ("cpu", DEVICE):
        model = copy.deepcopy(start).to(device)
        vectors = model(*padded(ids, tokenizer.pad_token_id, device))
        PAIRWISE["margin-mse"](vectors[0] @ vectors[1:].T, vectors[1] @ vectors[1:].T, vectors.new_zeros(4)).backward()
        gradients.append({name: each.grad.cpu() for name, each in model.named_parameters() if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).abs().max() < 1e-4 * largest, name
