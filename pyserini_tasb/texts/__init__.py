"""Texts with ids: reading collections, and keeping millions of texts in memory-mapped files."""

from __future__ import annotations

from pyserini_tasb.texts.text_store import TextStore, write_text_store

__all__ = ["TextStore", "write_text_store"]
