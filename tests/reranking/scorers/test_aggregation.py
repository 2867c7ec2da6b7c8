"""Scores from comparisons, computed here one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pyserini_tasb.reranking.t5_scorers import AGGREGATIONS, aggregate
from tests.command_line import parse

PLAIN = {
    "sum": lambda forth, _: sum(forth),
    "sum-log": lambda forth, _: sum(map(math.log, forth)),
    "sym-sum": lambda forth, back: sum(forth) + sum(1 - p for p in back),
    "sym-sum-log": lambda forth, back: sum(map(math.log, forth)) + sum(math.log(1 - p) for p in back),
    "binary": lambda forth, _: sum(p > 0.5 for p in forth),
    "min": lambda forth, _: min(forth),
    "max": lambda forth, _: max(forth),
}


@pytest.mark.parametrize("method", AGGREGATIONS)
@pytest.mark.parametrize("passages", [2, 3, 9])
def test_methods(method, passages):
    log_odds = np.random.default_rng(passages).normal(0, 2, (passages, passages)).astype(np.float32)
    np.fill_diagonal(log_odds, np.nan)  # nothing is compared with itself
    p = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
    expected = [
        PLAIN[method]([p[i, j] for j in range(passages) if j != i], [p[j, i] for j in range(passages) if j != i])
        for i in range(passages)
    ]
    found = aggregate(method, log_odds)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_logarithms_of_what_is_all_but_certain_are_finite():
    log_odds = np.array([[0, 500], [-500, 0]], dtype=np.float32)
    assert aggregate("sum-log", log_odds).tolist() == [0, -500]
    assert aggregate("sym-sum-log", log_odds).tolist() == [0, -1000]


@pytest.mark.parametrize("passages", [0, 1])
@pytest.mark.parametrize("method", AGGREGATIONS)
def test_nothing_to_compare(method, passages):
    assert aggregate(method, np.zeros((passages, passages), dtype=np.float32)).tolist() == [0] * passages


def test_the_command_knows_them_all():
    with pytest.raises(SystemExit):
        parse("rerank", "--pairwise", "median")
    needed = ["--run", "r", "--model", "m", "--topics", "t", "--corpus", "c", "--output", "o"]
    for method in AGGREGATIONS:
        assert parse("rerank", *needed, "--pairwise", method).pairwise == method
