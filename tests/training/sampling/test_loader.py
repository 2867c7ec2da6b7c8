"""Batches from real stores, composed here and by worker processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from itertools import islice
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from transformers import AutoTokenizer

from pyserini_tasb import registry
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.batches import CompositionError, Tokenising, training_batches
from pyserini_tasb.training.sampling import build_sampler
from tests.conftest import TINY_MODEL
from tests.training.sampling.stores import Failing, Noting, Probing, tiny_store

SUPERVISION = ("scores", "margins", "labels")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return {supervision: tiny_store(tmp_path_factory.mktemp(supervision), supervision) for supervision in SUPERVISION}


@pytest.fixture(scope="module")
def store(stores):
    return stores["scores"]


@pytest.fixture(scope="module")
def sampler(store):
    clusters = np.array_split(np.random.default_rng(2).permutation(len(store.queries)), 5)
    return build_sampler("tas-balanced", store, batch_size=10, seed=5, clusters=clusters)


def batches(store, sampler, start=0, stop=None, workers=0, ahead=4, **options):
    names = [field.name for field in dataclasses.fields(Tokenising)]
    tokenising = Tokenising(TINY_MODEL, **{name: options.pop(name) for name in names if name in options})
    return training_batches(store, sampler, tokenising, start=start, stop=stop, workers=workers, ahead=ahead, **options)


def as_plain(batch):
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {
        name: (value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
    }


def assert_same(some, others):
    assert [as_plain(batch) for batch in some] == [as_plain(batch) for batch in others]


def no_workers_left(seconds=60):
    end = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    return not multiprocessing.active_children()


@pytest.mark.parametrize("supervision", SUPERVISION)
def test_what_a_batch_holds(stores, supervision):
    store = stores[supervision]
    sampler = build_sampler("random", store, batch_size=12, seed=5)
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)

    def tokens(prefix, texts, cap):
        return tokenizer([prefix + text for text in texts], truncation=True, max_length=cap)["input_ids"]

    options = {"query_prefix": "query: ", "passage_prefix": "title ", "query_max_length": 8, "passage_max_length": 40}
    lengths = set()
    for step, batch in enumerate(batches(store, sampler, 3, 6, **options), 3):
        sampled = sampler.batch(step)
        assert batch.step == step
        assert batch.queries.tolist() == sampled.queries.tolist()
        assert batch.rows.tolist() == sampled.rows.tolist()
        assert batch.positives.tolist() == store.positives[sampled.rows].tolist()
        assert batch.negatives.tolist() == store.negatives[sampled.rows].tolist()
        assert (batch.scores is None) == (supervision != "scores")
        assert (batch.margins is None) == (supervision == "labels")
        if batch.scores is not None:
            assert batch.scores.tolist() == store.scores[sampled.rows].tolist()
        if batch.margins is not None:
            assert batch.margins.tolist() == store.margins(sampled.rows).tolist()
        passages = store.passages.texts(np.concatenate([batch.positives, batch.negatives]))
        assert batch.query_tokens == tokens("query: ", store.queries.texts(batch.queries), 8)
        assert batch.passage_tokens == tokens("title ", passages, 40)
        lengths |= set(map(len, batch.passage_tokens))
    assert max(lengths) == 40
    assert len(lengths) > 1  # not padded


def test_known_positives(store):
    """Cell by cell, in batches so large that passages of other queries are often relevant."""
    hits = np.zeros(2, int)
    for batch in batches(store, build_sampler("random", store, batch_size=120, seed=0), 0, 3):
        for i, query in enumerate(batch.queries.tolist()):
            known = set(store.known_positives(query).tolist())
            assert batch.positives[i] in known
            of_positives = [j != i and passage in known for j, passage in enumerate(batch.positives.tolist())]
            of_negatives = [passage in known for passage in batch.negatives.tolist()]
            assert batch.known_positives[i].tolist() == of_positives
            assert batch.known_negatives[i].tolist() == of_negatives
            hits += sum(of_positives), sum(of_negatives)
    assert (hits > 20).all()


def test_any_number_of_workers_gives_the_same_stream(store, sampler):
    inline = list(batches(store, sampler, 0, 9))
    assert [batch.step for batch in inline] == list(range(9))
    assert_same(batches(store, sampler, 0, 9, workers=1), inline)
    assert_same(batches(store, sampler, 0, 9, workers=3, ahead=2), inline)
    assert_same(batches(store, sampler, 6, 9, workers=2), inline[6:])  # as after a resume
    assert_same(islice(batches(store, sampler, 6, None), 3), inline[6:])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_tokens_of_a_batch(store, sampler, world):
    (whole,) = batches(store, sampler, 4, 5)
    shares = [next(batches(store, sampler, 4, 5, rank=rank, world=world)) for rank in range(world)]
    assert [token for share in shares for token in share.query_tokens] == whole.query_tokens
    halves = [(share.passage_tokens[: len(share.query_tokens)], share.passage_tokens) for share in shares]
    positives = [tokens for half, _ in halves for tokens in half]
    negatives = [tokens for half, both in halves for tokens in both[len(half) :]]
    assert positives + negatives == whole.passage_tokens
    tokens = {"query_tokens": [], "passage_tokens": []}
    assert_same(
        [dataclasses.replace(share, **tokens) for share in shares], [dataclasses.replace(whole, **tokens)] * world
    )


def test_not_more_than_asked_is_composed_ahead(store, sampler, tmp_path):
    iterator = batches(store, Noting(sampler, tmp_path), 7, None, workers=2, ahead=5)
    next(iterator)
    next(iterator)
    deadline = time.monotonic() + 20
    expected = set(map(str, range(7, 9 + 5)))
    while {path.name for path in tmp_path.iterdir()} != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert {path.name for path in tmp_path.iterdir()} == expected
    iterator.close()
    assert no_workers_left()


def test_the_end_of_the_steps_is_not_passed(store, sampler, tmp_path):
    assert len(list(batches(store, Noting(sampler, tmp_path), 7, 9, workers=2, ahead=50))) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8"]
    assert no_workers_left()
    assert not list(batches(store, sampler, 7, 7, workers=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_the_step(store, sampler, workers):
    iterator = batches(store, Failing(sampler, 5, fixable=False), 3, None, workers=workers)
    assert [next(iterator).step, next(iterator).step] == [3, 4]
    with pytest.raises(CompositionError, match=r"step 5 failed(.|\n)*ZeroDivisionError: by a worker") as caught:
        next(iterator)
    assert caught.value.step == 5
    assert no_workers_left()
    with pytest.raises(TasbError, match=r"^step 5, some\.npy\n(.|\n)*half a file\n(.|\n)*copy it again"):
        list(batches(store, Failing(sampler, 5, fixable=True), 3, None, workers=workers))


def test_workers_are_light(store, monkeypatch):
    """They compute nothing: torch would cost each of them seconds and 200 MB, also where somebody's loss has it."""
    monkeypatch.setattr(registry, "_REGISTERING", {"torch"})
    with pytest.raises(TasbError, match=r"\[\] false"):
        next(batches(store, Probing(), workers=1))


def test_a_store_is_opened_again_not_copied(store):
    sent = bytes(ForkingPickler.dumps(store))
    assert len(sent) < 1_000
    assert ForkingPickler.loads(sent).fingerprint == store.fingerprint


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"ahead": 0}, {"rank": 2, "world": 2}])
def test_numbers_out_of_range(store, sampler, wrong):
    with pytest.raises(ValueError, match="expected workers >= 0"):
        batches(store, sampler, **wrong)


def test_no_room_for_text(store, sampler):
    with pytest.raises(TasbError, match="above the 2 special tokens"):
        batches(store, sampler, query_max_length=2)
