"""A recipe with the weights that were found, and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb.recipes import FusionInput, FusionRecipe, WeightProvenance
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import BaseModel


def with_weights(
    recipe: FusionRecipe, weights: Sequence[float], provenance: WeightProvenance, name: str
) -> FusionRecipe:
    """The same recipe under another name, with other weights."""
    inputs = [
        FusionInput(**{**each.model_dump(), "weight": weight})
        for each, weight in zip(recipe.inputs, weights, strict=True)
    ]
    return FusionRecipe(**{**recipe.model_dump(), "name": name, "inputs": inputs, "provenance": provenance})


def write_recipe(recipe: FusionRecipe, path: Path) -> None:
    """Write a recipe as YAML, without what is a default.

    Raises:
        TasbError: the disk refuses.
    """
    text = yaml.safe_dump(_shown(recipe), sort_keys=False, allow_unicode=True, width=110)
    head = "# Written by `tasb tune`; every key is explained in fusion/README.md of pyserini-tasb.\n"
    write_whole(path, head + text)


def _shown(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_defaults=True)
