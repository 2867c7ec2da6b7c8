"""The vectors of the tests of indexes."""

from __future__ import annotations

from tests.indexes.conftest import exact, vectors

__all__ = ["exact", "vectors"]
