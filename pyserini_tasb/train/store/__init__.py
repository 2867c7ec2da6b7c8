"""Texts and training pairs as memory-mapped arrays: reading them, and building them out of core."""

from __future__ import annotations

from pyserini_tasb.train.store.pair_store import PairStore, open_pair_store
from pyserini_tasb.train.store.text_store import TextStore, write_text_store

__all__ = ["PairStore", "TextStore", "open_pair_store", "write_text_store"]
