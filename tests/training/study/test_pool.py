"""The search of a study's pool: the hits of `tasb search`, equal scores by docid, however the passages come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.training import study_cells
from pyserini_tasb.training.study_cells import LoadedTask, _Found


@pytest.mark.parametrize("searched_bytes", [1, 1_000, 1 << 30])
@pytest.mark.parametrize("batch", [7, 50, 300])
def test_a_tie_at_the_cut_is_ordered_by_docid(searched_bytes, batch, monkeypatch):
    monkeypatch.setattr(study_cells, "SEARCHED_BYTES", searched_bytes)
    random = np.random.default_rng(1)
    vectors = np.repeat(random.integers(-2, 3, (30, 8)), 10, axis=0).astype(np.float32)
    random.shuffle(vectors)
    docids = [f"D{number:03}" for number in random.permutation(len(vectors))]
    queries = random.integers(-2, 3, (4, 8)).astype(np.float32)
    topics = {f"q{number}": "text" for number in range(len(queries))}
    task = LoadedTask("pool", topics, {}, (), 25, Path("pool.tsv"), Fields(), None, {}, remove_query=False)
    found = _Found(task, queries, "cpu")
    for start in range(0, len(vectors), batch):
        found.add(docids[start : start + batch], vectors[start : start + batch])
    run = found.run()
    for qid, scores in zip(topics, queries @ vectors.T, strict=True):
        every = dict(zip(docids, scores.tolist(), strict=True))
        assert list(run[qid]) == ranked_docids(every)[:25]
        assert all(every[docid] == score for docid, score in run[qid].items())
