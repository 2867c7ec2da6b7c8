"""Training pairs as memory-mapped arrays: reading them, and building them out of core."""

from __future__ import annotations

from pyserini_tasb.train.store.pair_store import PairStore, open_pair_store

__all__ = ["PairStore", "open_pair_store"]
