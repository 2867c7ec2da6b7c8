"""Where recipes are looked up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["encoders", "fusion", "regressions", "regressions/topics", "regressions/prebuilt"]


def own_folder(kind: Kind) -> Path:
    """The recipes this package ships: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    in_wheel = package / "_data" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def user_folder(kind: Kind) -> Path:
    """The user's own recipes, which win over those the package ships."""
    home = os.environ.get("PYSERINI_TASB_HOME") or "~/.config/pyserini-tasb"
    return Path(home).expanduser() / kind


def recipe_files(kind: Kind) -> dict[str, Path]:
    """Every recipe of one kind by name, sorted; a user's file hides the package's of the same name."""
    files = {path.stem: path for folder in (own_folder(kind), user_folder(kind)) for path in folder.glob("*.yaml")}
    return dict(sorted(files.items()))
