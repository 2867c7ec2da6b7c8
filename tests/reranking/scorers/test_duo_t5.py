"""duoT5 compares every two passages as plain transformers do, one prompt at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.reranking import t5_scorers
from pyserini_tasb.reranking.scorers import ScoringOptions, load_list_scorer
from pyserini_tasb.reranking.t5_scorers import AGGREGATIONS
from tests.conftest import TINY_MODEL
from tests.reranking.scorers.test_aggregation import PLAIN
from tests.reranking.scorers.tiny_t5 import DUO, PlainT5, make_t5

QUERY = "lists of programs that sort"


@pytest.fixture(scope="module")
def passages(collection):
    return [*collection.texts[1:80:20], "lists", "sort merge"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5") / "duot5-tiny")


@pytest.fixture(scope="module")
def comparisons(folder, passages):
    """(i, j) → probability that passage i is more relevant than passage j."""
    plain = PlainT5(folder)
    return {
        pair: math.exp(plain.log_probabilities(DUO.format(QUERY, *(passages[number] for number in pair)))[1])
        for pair in itertools.permutations(range(len(passages)), 2)
    }


def scorer(folder, method, **options):
    return load_list_scorer(str(folder), method, ScoringOptions("cpu", **options), allow_bin=True)


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_scores(folder, passages, comparisons, method):
    numbers = range(len(passages))
    expected = [
        PLAIN[method](
            [comparisons[i, j] for j in numbers if j != i],
            [comparisons[j, i] for j in numbers if j != i],
        )
        for i in numbers
    ]
    found = scorer(folder, method).score_list(QUERY, passages)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(expected) > 0.01


def test_both_orders_are_asked_for(comparisons):
    """p(i, j) is not 1 - p(j, i), or half of the comparisons would do."""
    assert max(abs(p + comparisons[j, i] - 1) for (i, j), p in comparisons.items()) > 0.1


def test_blocks_change_nothing(folder, passages, monkeypatch):
    whole = scorer(folder, "sym-sum").score_list(QUERY, passages)
    monkeypatch.setattr(t5_scorers, "PROMPTS_AT_ONCE", 7)
    divided, blocks = scorer(folder, "sym-sum"), []
    log_odds = divided._model.log_odds
    monkeypatch.setattr(divided._model, "log_odds", lambda prompts: blocks.append(len(prompts)) or log_odds(prompts))
    np.testing.assert_allclose(divided.score_list(QUERY, passages), whole, rtol=1e-4)
    assert blocks == [7, 7, 7, 7, 2]


def test_a_single_passage(folder):
    assert scorer(folder, "min").score_list(QUERY, ["alone"]).tolist() == [0]


def test_a_mono_t5_does_not_compare(tmp_path):
    with pytest.raises(TasbError, match=r"found: +a monoT5(?s:.*)leave out pairwise="):
        scorer(make_t5(tmp_path / "monot5-base-msmarco"), "sum")


def test_nor_do_other_models():
    with pytest.raises(TasbError, match=r"a duoT5, for pairwise=(?s:.*)a model of the kind `bert-dot`"):
        scorer(TINY_MODEL, "sum")
