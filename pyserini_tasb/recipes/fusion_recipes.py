"""Which fusion recipe a name means."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.folders import recipe_files
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.types import FusionRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence


def fusion_recipe(name: str, overrides: Sequence[str] = ()) -> FusionRecipe:
    """The recipe of that name, or at that path (`….yaml`).

    Args:
        name: e.g. `tasb+bm25`.
        overrides: `key=value` or `section.key=value`, each over what the file says.

    Raises:
        TasbError: no such recipe, or a faulty one.
    """
    if name.endswith((".yaml", ".yml")):
        return load_recipe(Path(name).expanduser(), FusionRecipe, overrides)
    files = recipe_files("fusion")
    if name not in files:
        close = difflib.get_close_matches(name.lower(), files, n=1, cutoff=0.5)
        raise TasbError(
            expected=f"a fusion recipe ({', '.join(files)}), or the path of one (….yaml)",
            found=f"`{name}`",
            do=f"did you mean `{close[0]}`?" if close else "choose one of them",
        )
    return load_recipe(files[name], FusionRecipe, overrides)
