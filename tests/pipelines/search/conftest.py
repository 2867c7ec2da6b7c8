"""The vectors of the tests of indexes."""

from __future__ import annotations

from tests.index.conftest import exact, vectors

__all__ = ["exact", "vectors"]
