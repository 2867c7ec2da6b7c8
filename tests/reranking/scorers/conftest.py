"""Fixtures of `tasb score`: pairs of the tiny collection, small windows, and scorers that are watched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyserini_tasb.data import scored_pairs
from pyserini_tasb.reranking import scorers
from tests.reranking.scorers.commands import ROWS_AT_ONCE, WINDOW, WatchedScorer, tasb_score, written


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(scored_pairs, "PAIRS_PER_WINDOW", WINDOW)
    monkeypatch.setattr(scored_pairs, "ROWS_AT_ONCE", ROWS_AT_ONCE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that are killed
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def watch(monkeypatch):
    """Watch the scorers of the commands that follow; they are listed as they are made."""
    load = scorers.load_scorer

    def watched(interrupted_at=None, wrap=WatchedScorer):
        made = []

        def load_watched(*arguments, **options):
            made.append(wrap(load(*arguments, **options), interrupted_at))
            return made[-1]

        monkeypatch.setattr(scorers, "load_scorer", load_watched)
        return made

    return watched


@pytest.fixture(scope="module")
def rows(collection):
    """90 pairs in no order; some of what is to be scored occurs several times."""
    randomness = np.random.default_rng(0)
    qids = list(collection.topics)
    drawn = [(randomness.integers(10), *randomness.integers(0, 30, 2)) for _ in range(90)]
    return [
        (qids[query], collection.docids[positive], collection.docids[negative + (positive == negative)])
        for query, positive, negative in drawn
    ]


@pytest.fixture(scope="module")
def distinct(rows):
    return {(qid, docid) for qid, *docids in rows for docid in docids}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, rows):
    return written(tmp_path_factory.mktemp("pairs") / "pairs.tsv", rows)


@pytest.fixture
def uninterrupted(tmp_path_factory, pairs):
    """The bytes that every run has to end with."""
    output = tmp_path_factory.mktemp("uninterrupted") / "out.tsv"
    tasb_score(output, pairs)
    return output.read_bytes()
