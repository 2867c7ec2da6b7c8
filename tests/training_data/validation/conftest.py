"""The tiny collection's own validation set; its baseline is the tiny model."""

from __future__ import annotations

import pytest

from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.topics import read_topics
from tests.conftest import TINY


@pytest.fixture
def sources(expected_scores):
    """What `build_validation_set` takes."""
    return {
        "topics": read_topics(TINY / "topics.tsv"),
        "qrels": read_qrels(TINY / "qrels.txt"),
        "run": expected_scores,
        "passages": open_collection(TINY / "corpus.jsonl"),
    }
