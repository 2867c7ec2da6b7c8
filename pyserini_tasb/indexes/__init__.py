"""Vectors to an index that Pyserini searches."""
