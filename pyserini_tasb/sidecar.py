"""A JSON file beside another, which says what that one is of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def read_sidecar(path: Path) -> dict[str, Any]:
    """What the file says; nothing if it is not there or is damaged, so that whatever it is beside is made again."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
