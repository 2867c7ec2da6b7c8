"""Vectors to an index that Pyserini searches: Faiss or Lucene, and opening one without reading it."""
