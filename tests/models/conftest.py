"""An exported model, as the tests of exports have it."""

from tests.encoding.conftest import cache, exported_tiny

__all__ = ["cache", "exported_tiny"]
