"""A clock for what waits or measures time: its seconds pass only in `sleep`, so a busy machine changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import pytest


def time_passes_in_sleep(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, meanwhile: Callable[[], object] = lambda: None
) -> Callable[[float], None]:
    """Give a module such a clock as its `time`; return its `sleep`, in which what others do `meanwhile` happens."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        meanwhile()
        now += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    return sleep
