"""The same on a GPU as on the CPU: vectors, losses and their gradients, scores of ColBERT, clusters, hits.

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
from pyserini_tasb.models.tokenizers import load_tokenizer, padded
from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE, InBatchScores, KnownPositives
from tests.conftest import TINY_MODEL

pytestmark = pytest.mark.bare
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
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
