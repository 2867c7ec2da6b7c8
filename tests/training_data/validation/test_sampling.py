from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb import TasbError
from pyserini_tasb.data.validation_building import equal_width_strata, stratified_sample, uniform_sample
from tests.conftest import DATA

ORACLE = json.loads((DATA / "train" / "oracle_strata.json").read_text())


def test_oracle():
    strata_of = equal_width_strata(np.array(ORACLE["per_query_values"]), ORACLE["strata"])
    assert strata_of.tolist() == ORACLE["stratum_of"]
    assert sorted(set(strata_of.tolist())) == ORACLE["not_empty"]


def test_the_released_scripts_numbers():
    """A target of 4,000 in 5 strata of RR@10, of which [.6, .8) is empty, gives the paper's 3,200."""
    reciprocal_ranks = np.repeat([0.0, *(1 / rank for rank in range(1, 11))], 2_000)
    sample = stratified_sample(equal_width_strata(reciprocal_ranks, 5), 5, 4_000, seed=1)
    assert len(sample) == len(set(sample.tolist())) == 3_200
    assert np.unique(equal_width_strata(reciprocal_ranks, 5)[sample], return_counts=True)[1].tolist() == [800] * 4


def test_borders_belong_to_the_range_above_and_the_last_is_closed():
    assert equal_width_strata(np.array([0, 0.2, 0.4, 0.6, 0.8, 1.0]), 5).tolist() == [0, 1, 2, 3, 4, 4]
    assert equal_width_strata(np.array([0.3, 0.3]), 5).tolist() == [0, 0]
    assert equal_width_strata(np.array([0.0, 1.0]), 1).tolist() == [0, 0]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50), st.integers(1, 12))
def test_strata_follow_the_values(values, strata):
    strata_of = equal_width_strata(np.array(values), strata)
    assert strata_of.min() >= 0
    assert strata_of.max() <= strata - 1
    in_order = strata_of[np.argsort(values)]
    assert (np.diff(in_order) >= 0).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 5))
def test_uniform(queries, size, seed):
    sample = uniform_sample(queries, size, seed)
    assert len(sample) == min(queries, size)
    assert (np.diff(sample) > 0).all()
    assert 0 <= sample[0] <= sample[-1] < queries
    assert sample.tolist() == uniform_sample(queries, size, seed).tolist()


def test_uniform_takes_every_query_as_often():
    counts = np.bincount(np.concatenate([uniform_sample(20, 5, seed) for seed in range(4_000)]))
    assert counts.sum() == 20_000
    # 1,000 each, deviation 27
    assert counts.min() > 890
    assert counts.max() < 1_110
    assert uniform_sample(1_000, 10, 1).tolist() != uniform_sample(1_000, 10, 2).tolist()


def test_fewer_queries_than_strata():
    with pytest.raises(TasbError, match="3 queries in 5 strata"):
        stratified_sample(np.arange(5), 5, 3, seed=0)
