"""The layout of files in the Hugging Face hub's cache."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def put_into_hub_cache(model: Path, cache: Path, hub_id: str) -> Path:
    """Copy a model's folder to where the hub's own client would leave it: refs/main names a snapshot."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(model, repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    return repository / "snapshots" / "0123abcd"
