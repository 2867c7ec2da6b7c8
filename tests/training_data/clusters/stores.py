"""A real pair store of a few queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.pair_builder import PairRows, PairStoreBuilder
from pyserini_tasb.data.pair_store import PairStore, open_pair_store
from pyserini_tasb.formats.text_store import write_text_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def pair_store(folder: Path, queries: Mapping[str, str]) -> PairStore:
    """A store in which every query has three pairs."""
    texts = write_text_store(folder.with_name("queries"), queries.items())
    passages = write_text_store(folder.with_name("passages"), [(f"p{i}", f"passage {i}") for i in range(4)])
    rows = np.repeat(np.arange(len(queries)), 3)
    negatives = np.tile([1, 2, 3], len(queries))
    with PairStoreBuilder(folder, "margins") as builder:
        builder.add(PairRows(rows, np.zeros_like(rows), negatives, np.ones((len(rows), 1), dtype=np.float32)))
        builder.finish(texts, passages)
    return open_pair_store(folder)
