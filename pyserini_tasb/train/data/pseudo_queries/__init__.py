"""Queries for a collection that has none: `tasb data pseudo-queries`."""
