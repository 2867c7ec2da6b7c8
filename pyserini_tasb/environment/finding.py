"""One line of `tasb doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        name: what was looked at.
        status: `warning` where something works all the same, or may be meant; `problem` where something fails.
        found: what is there.
        remedy: what to type; of several lines any one is enough.
    """

    name: str
    status: Status
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", found)


def warning(name: str, found: str, remedy: str) -> Finding:
    """Works, with something to know."""
    return Finding(name, "warning", found, remedy)


def problem(name: str, found: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(name, "problem", found, remedy)
