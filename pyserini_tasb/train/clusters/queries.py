"""The queries to cluster: of a topics file, or those of a pair store that have pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.topics import read_topics

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class UsableQueries:
    """Queries that can be drawn for training.

    Args:
        ids: the qids.
        texts: one for each.
        without_pairs: how many others there are that have no pairs.
    """

    ids: list[str]
    texts: list[str]
    without_pairs: int = 0


def usable_queries(path: Path) -> UsableQueries:
    """All queries of a topics file (TSV or JSONL), or those with pairs of a pair store (a folder).

    Raises:
        TasbError: neither of them, or a damaged one.
    """
    if not path.is_dir():
        topics = read_topics(path)
        return UsableQueries(list(topics), list(topics.values()))
    from pyserini_tasb.train.store.pair_store import open_pair_store

    store = open_pair_store(path)
    usable = np.flatnonzero(np.diff(store.offsets))
    return UsableQueries(store.queries.ids(usable), store.queries.texts(usable), len(store.queries) - len(usable))
