"""Several negatives of each query: of one positive, each once before one comes again, evenly over the bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.batches import Tokenising, training_batches
from pyserini_tasb.training.sampling import SAMPLINGS, SampledBatch, build_sampler
from tests.conftest import TINY_MODEL

from .pairs_in_memory import PairsInMemory, clusters_of
from .stores import tiny_store

STRATEGIES = ("random", "balanced", "tas", "tas-balanced")


@dataclass(frozen=True)
class PairsOfPositives(PairsInMemory):
    positives: np.ndarray = None


def pairs_of_positives(queries):
    """Pairs with these margins: for each query, a list for each of its positives."""
    counts = [sum(map(len, positives)) for positives in queries]
    lists = [margins for positives in queries for margins in positives]
    flat = np.array([margin for margins in lists for margin in margins], np.float32)
    numbers = np.repeat(np.arange(len(lists)), [len(margins) for margins in lists]).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return PairsOfPositives(offsets, flat, "margins", numbers)


# Bins of width 1: the first positive has four pairs in bin 0, two in bin 5, one in each of bins 8 and 9.
PAIRS = pairs_of_positives(
    [[[0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 8.5, 10.0], [1.0, 2.0]], [[3.0]], [[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0, 4.0, 5.0]]]
)


def sampler(strategy, negatives, **options):
    return build_sampler(
        strategy, PAIRS, batch_size=4, seed=7, clusters=clusters_of([2, 2]), negatives=negatives, **options
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_first_column_is_the_batch_of_one_negative(strategy):
    one, four = sampler(strategy, 1), sampler(strategy, 4)
    for step in range(50):
        batch = four.batch(step)
        assert batch.rows.shape == (4, 4)
        assert batch.queries.tolist() == one.batch(step).queries.tolist()
        assert batch.rows[:, 0].tolist() == one.batch(step).rows.tolist()


def test_the_stream_never_changes():
    """A resumed run gets the batches of the first one, also with several negatives."""
    streams = {name: sampler(name, 4).batch(1_001).rows.tolist() for name in ("random", "tas-balanced")}
    assert streams == {
        "random": [[10, 10, 10, 10], [13, 12, 11, 13], [16, 14, 15, 18], [9, 8, 9, 8]],
        "tas-balanced": [[6, 0, 7, 5], [10, 10, 10, 10], [16, 18, 14, 17], [11, 12, 13, 11]],
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_negatives_share_a_positive_and_come_once_before_they_come_again(strategy):
    four = sampler(strategy, 4)
    for step in range(50):
        for rows in four.batch(step).rows:
            positives = PAIRS.positives[rows]
            assert (positives == positives[0]).all()
            present = np.unique(rows, return_counts=True)[1]
            own = (PAIRS.positives == positives[0]).sum()
            assert len(present) == min(4, own)
            assert present.max() - present.min() <= 1


@pytest.mark.parametrize("strategy", ["balanced", "tas-balanced"])
@pytest.mark.parametrize(("negatives", "in_bins"), [(2, 2), (4, 4), (6, 4)])
def test_bins_have_turns(strategy, negatives, in_bins):
    several, seen = sampler(strategy, negatives), 0
    for step in range(50):
        batch = several.batch(step)
        rows = batch.rows[batch.queries == 0][0]
        if PAIRS.positives[rows[0]] == 0:
            bins, counts = np.unique(np.minimum(PAIRS.margins(rows).astype(int), 9), return_counts=True)
            assert len(bins) == in_bins
            # In the second round, only bins 0 and 5 have more.
            assert dict(zip(bins.tolist(), counts.tolist(), strict=True)).get(9, 1) == 1
            assert counts.max() == (2 if negatives == 6 else 1)
            seen += 1
    assert seen > 10


def test_a_uniform_choice_follows_the_pairs():
    """Half of the pairs are in bin 0, and so are half of the further negatives."""
    several, margins = sampler("random", 3), []
    for step in range(600):
        batch = several.batch(step)
        rows = batch.rows[batch.queries == 0][0]
        if PAIRS.positives[rows[0]] == 0:
            margins += PAIRS.margins(rows).tolist()
    assert np.mean(np.array(margins) < 1) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cutoff_holds_for_all_negatives(strategy):
    several = sampler(strategy, 3, margin_cutoff=(0.15, 9.0))
    for step in range(30):
        margins = PAIRS.margins(several.batch(step).rows)
        assert ((margins >= 0.15) & (margins <= 9)).all()


def test_labels_are_enough_for_a_uniform_choice():
    labels = PairsOfPositives(PAIRS.offsets, PAIRS.all_margins * np.nan, "labels", PAIRS.positives)
    rows = build_sampler("random", labels, batch_size=4, seed=7, negatives=3).batch(0).rows
    assert rows.tolist() == sampler("random", 3).batch(0).rows.tolist()


def test_no_negatives_are_refused():
    with pytest.raises(TasbError, match="negatives of at least 1"):
        sampler("random", 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny_store(tmp_path_factory.mktemp("store"), "scores")


def batches(store, sampler, *, workers=0, stop=3, **shares):
    tokenising = Tokenising(TINY_MODEL, 20, 40)
    return list(training_batches(store, sampler, tokenising, start=0, stop=stop, workers=workers, ahead=2, **shares))


def test_a_batch_has_all_that_the_store_says_of_its_rows(store):
    sampler = build_sampler("balanced", store, batch_size=5, seed=3, negatives=3)
    for batch in batches(store, sampler):
        assert batch.negatives_per_query == 3
        assert batch.rows.shape == batch.negatives.shape == batch.margins.shape == (5, 3)
        assert batch.scores.shape == (5, 3, 2)
        assert (store.positives[batch.rows] == batch.positives[:, None]).all()
        assert batch.negatives.tolist() == store.negatives[batch.rows].tolist()
        assert batch.margins.ravel().tolist() == store.margins(batch.rows.ravel()).tolist()
        assert batch.known_negatives.shape == (5, 15)
        for query, known in zip(batch.queries.tolist(), batch.known_negatives, strict=True):
            assert known.tolist() == [each in store.known_positives(query) for each in batch.negatives.ravel().tolist()]
        assert len(batch.passage_tokens) == 5 + 15


def test_two_processes_share_the_tokens_query_by_query(store):
    sampler = build_sampler("random", store, batch_size=5, seed=3, negatives=2)
    whole = batches(store, sampler, stop=1)[0]
    first, second = (batches(store, sampler, stop=1, rank=rank, world=2)[0] for rank in range(2))
    positives, negatives = whole.passage_tokens[:5], whole.passage_tokens[5:]
    assert first.passage_tokens == positives[:2] + negatives[:4]
    assert second.passage_tokens == positives[2:] + negatives[4:]


@pytest.fixture
def registered():
    def register(build):
        SAMPLINGS.add("outside", build)
        return "outside"

    yield register
    SAMPLINGS.remove("outside")


def test_a_choice_of_pairs_from_outside_gets_further_negatives(registered):
    class First:
        def choose(self, queries, uniforms):
            return PAIRS.offsets[queries]

    name = registered(lambda sampling: sampling.sampler(sampling.uniform_queries(), First()))
    batch = sampler(name, 3).batch(0)
    assert batch.rows[:, 0].tolist() == PAIRS.offsets[batch.queries].tolist()
    assert len(set(batch.rows[batch.queries == 3][0])) == 3


def test_a_pair_from_outside_the_cutoff_is_refused(registered):
    class First:
        def choose(self, queries, uniforms):
            return PAIRS.offsets[queries]

    name = registered(lambda sampling: sampling.sampler(sampling.uniform_queries(), First()))
    with pytest.raises(TasbError, match="inside the margin cutoff, from the sampling strategy"):
        sampler(name, 3, margin_cutoff=(0.15, 9.0)).batch(0)


class Fixed:
    def __init__(self, rows):
        self.rows = rows

    def batch(self, step):
        return SampledBatch(np.arange(len(self.rows)), np.array(self.rows))


def test_a_strategy_that_knows_one_negative_is_refused(registered):
    name = registered(lambda _sampling: Fixed([0, 10, 11, 14]))
    assert sampler(name, 1).batch(0).rows.tolist() == [0, 10, 11, 14]
    with pytest.raises(TasbError, match=r"rows of shape \(4, 3\), from the sampling strategy `outside`"):
        sampler(name, 3).batch(0)


def test_pairs_of_two_positives_are_refused(store):
    query = int((np.diff(store.offsets) > 2).argmax())
    first, beyond = store.offsets[query : query + 2]
    assert store.positives[first] != store.positives[beyond - 1]

    class Two:
        def batch(self, step):
            return SampledBatch(np.array([query]), np.array([[first, beyond - 1]]))

    with pytest.raises(TasbError, match="rows of one query with different positives"):
        batches(store, Two(), stop=1)
