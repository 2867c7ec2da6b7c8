"""The vectors of the tests of indexes."""

from __future__ import annotations

from tests.indexes.conftest import encoded_vectors, exact, other_model, others_are_refused, vectors

__all__ = ["encoded_vectors", "exact", "other_model", "others_are_refused", "vectors"]
