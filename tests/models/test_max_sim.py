from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.models.colbert import max_sim, max_sim_of_pairs
from tests.training.losses.largest_tensor import LargestTensor

ORACLE = json.loads((Path(__file__).parents[1] / "data" / "train" / "oracle_max_sim.json").read_text())


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def oracle_batch():
    return [tensor(ORACLE[name]) for name in ("q_vecs", "q_mask", "d_vecs", "d_mask")]


def random_batch(b, n, seed, query_tokens=3, passage_tokens=4):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(*shape, generator=generator) < 0.6 for shape in ((b, query_tokens), (n, passage_tokens))]
    for mask in masks:
        mask[:, 0] = True
    vectors = [torch.randn(*mask.shape, 5, generator=generator, dtype=torch.float64) for mask in masks]
    return vectors[0], masks[0], vectors[1], masks[1]


def by_the_book(queries, of_query, passages, of_passage):
    return tensor(
        [
            [
                sum(max(float(t @ s) for s in passages[j][of_passage[j]]) for t in queries[i][of_query[i]])
                for j in range(len(passages))
            ]
            for i in range(len(queries))
        ]
    )


def test_scores_are_the_oracle_s():
    assert max_sim(*oracle_batch()).tolist() == ORACLE["scores_correct"]


def test_released_masking_is_the_oracle_s():
    assert max_sim(*oracle_batch(), released_masking=True).tolist() == ORACLE["scores_matchmaker_bug"]


@pytest.mark.parametrize("released_masking", [False, True])
def test_padding_does_not_win_over_negative_similarities(released_masking):
    case = ORACLE["negative_only"]
    queries, passages, mask = tensor(case["q_vecs"]), tensor(case["d_vecs"]), tensor(case["d_mask"])
    score = max_sim(queries, torch.ones(1, 1), passages, mask, released_masking=released_masking)
    assert score.item() == case["score_correct"]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_any_chunks_give_the_scores_by_the_book(b, n, seed, at_once):
    batch = random_batch(b, n, seed)
    torch.testing.assert_close(max_sim(*batch, similarities_at_once=at_once), by_the_book(*batch))


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_released_masking_is_right_on_the_diagonal_in_any_chunks(b, seed, at_once):
    batch = random_batch(b, b, seed)
    released = max_sim(*batch, released_masking=True, similarities_at_once=at_once)
    torch.testing.assert_close(released.diagonal(), by_the_book(*batch).diagonal())
    torch.testing.assert_close(released, max_sim(*batch, released_masking=True))


def test_what_lies_under_the_padding_does_not_matter():
    queries, of_query, passages, of_passage = random_batch(4, 4, 1)
    scores = max_sim(queries, of_query, passages, of_passage)
    queries[~of_query], passages[~of_passage] = float("nan"), float("inf")
    assert torch.equal(max_sim(queries, of_query, passages, of_passage), scores)


def test_gradients_are_right_in_chunks():
    queries, of_query, passages, of_passage = random_batch(3, 2, 1)
    inputs = queries.requires_grad_(), passages.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, p: max_sim(q, of_query, p, of_passage, similarities_at_once=30), inputs)


def test_no_more_similarities_than_allowed_are_in_memory():
    batch = random_batch(16, 32, 1, query_tokens=8, passage_tokens=10)
    with LargestTensor() as largest, torch.no_grad():
        max_sim(*batch, similarities_at_once=4_000)
    assert 3_000 < largest.elements <= 4_000


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_vectors_are_scored_in_fp32_also_under_autocast(precision):
    queries, of_query, passages, of_passage = random_batch(3, 3, 1)
    queries, passages = (10 * queries).to(precision), (10 * passages).to(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = max_sim(queries, of_query, passages, of_passage)
    assert scores.dtype == torch.float32
    exact = by_the_book(queries.double(), of_query, passages.double(), of_passage)
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=1e-4)


def test_shapes_that_do_not_fit_are_refused():
    queries, of_query, passages, of_passage = random_batch(3, 2, 1)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        max_sim(queries, of_query[:, :2], passages, of_passage)
    with pytest.raises(ValueError, match="found 2 and 3"):
        max_sim(queries, of_query, passages, of_passage, released_masking=True)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_scores_of_pairs_are_the_diagonal(n, seed):
    batch = random_batch(n, n, seed)
    torch.testing.assert_close(max_sim_of_pairs(*batch), by_the_book(*batch).diagonal())
    torch.testing.assert_close(max_sim_of_pairs(*batch), max_sim(*batch).diagonal())


def test_scores_of_pairs_are_the_oracle_s():
    assert max_sim_of_pairs(*oracle_batch()).tolist() == [row[i] for i, row in enumerate(ORACLE["scores_correct"])]
    case = ORACLE["negative_only"]
    queries, passages, mask = tensor(case["q_vecs"]), tensor(case["d_vecs"]), tensor(case["d_mask"])
    assert max_sim_of_pairs(queries, torch.ones(1, 1), passages, mask).item() == case["score_correct"]


def test_gradients_of_pairs_are_right_and_those_of_the_diagonal():
    queries, of_query, passages, of_passage = random_batch(3, 3, 1)
    inputs = queries.requires_grad_(), passages.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, p: max_sim_of_pairs(q, of_query, p, of_passage), inputs)
    weights = tensor([1, -2, 3])
    of_pairs = torch.autograd.grad(max_sim_of_pairs(queries, of_query, passages, of_passage) @ weights, inputs)
    of_diagonal = torch.autograd.grad(max_sim(queries, of_query, passages, of_passage).diagonal() @ weights, inputs)
    torch.testing.assert_close(of_pairs, of_diagonal)
    assert not of_pairs[0][~of_query].any()
    assert not of_pairs[1][~of_passage].any()


def test_what_lies_under_the_padding_of_pairs_does_not_matter():
    queries, of_query, passages, of_passage = random_batch(4, 4, 1)
    scores = max_sim_of_pairs(queries, of_query, passages, of_passage)
    queries[~of_query], passages[~of_passage] = float("nan"), float("inf")
    assert torch.equal(max_sim_of_pairs(queries, of_query, passages, of_passage), scores)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_pairs_are_scored_in_fp32_also_under_autocast(precision):
    queries, of_query, passages, of_passage = random_batch(3, 3, 1)
    queries, passages = (10 * queries).to(precision), (10 * passages).to(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = max_sim_of_pairs(queries, of_query, passages, of_passage)
    assert scores.dtype == torch.float32
    exact = by_the_book(queries.double(), of_query, passages.double(), of_passage).diagonal()
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=1e-4)


def test_pairs_that_do_not_fit_are_refused():
    queries, of_query, passages, of_passage = random_batch(3, 2, 1)
    with pytest.raises(ValueError, match="each of 3 queries, found 2"):
        max_sim_of_pairs(queries, of_query, passages, of_passage)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        max_sim_of_pairs(queries, of_query[:, :2], queries, of_query)
