"""Batches for the tests of losses: from the oracle's numbers, and random ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from hypothesis import strategies as st

from pyserini_tasb.training.losses import InBatchScores, KnownPositives

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "train" / "oracle_losses.json").read_text())
TOLERANCE = {"rtol": 0, "atol": 1e-9}

sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def expect(found, wanted, **tolerance):
    torch.testing.assert_close(found, tensor(wanted), **(TOLERANCE | tolerance))


def scores_of(rows):
    """In-batch scores from lists [b, 2b]."""
    rows = tensor(rows)
    return InBatchScores(rows[:, : len(rows)].clone(), rows[:, len(rows) :].clone())


def random_scores(size, seed, *, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scores_of((scale * torch.randn(size, 2 * size, generator=generator, dtype=torch.float64)).tolist())


def random_known(size, seed, *, share=0.3):
    generator = torch.Generator().manual_seed(seed + 1)
    positives, negatives = torch.rand(2, size, size, generator=generator) < share
    return KnownPositives(positives.fill_diagonal_(False), negatives)


def all_known(size):
    """Everything but the own positives is masked."""
    everything = torch.ones(size, size, dtype=torch.bool)
    return KnownPositives(everything.clone().fill_diagonal_(False), everything)


def with_gradients(scores):
    return InBatchScores(scores.positives.clone().requires_grad_(), scores.negatives.clone().requires_grad_())
