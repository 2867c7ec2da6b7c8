"""Entries for each axis of pyserini-tasb."""
