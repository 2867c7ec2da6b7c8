"""A recipe's inputs, with the indexes and encoders that were given for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.recipes import FusionRecipe

DENSE = ("dense",)
SPARSE = ("bm25", "doct5query", "impact")
# What an option sets, and of which inputs.
_SETS = {"--dense-index": (DENSE, "index"), "--sparse-index": (SPARSE, "index"), "--encoder": (DENSE, "encoder")}


def with_given(
    recipe: FusionRecipe, dense_indexes: Sequence[str], sparse_indexes: Sequence[str], encoders: Sequence[str]
) -> FusionRecipe:
    """The recipe with what was given put in the place of what it says.

    Args:
        recipe: what is to be searched and fused.
        dense_indexes: one for each dense input, in the recipe's order; none leaves the recipe's own.
        sparse_indexes: the same for the inputs of the other kinds.
        encoders: the same for the encoders of dense inputs.

    Raises:
        TasbError: an input that is a run, not something to search; more or fewer given than there are inputs; or an
            input for which neither the recipe nor anybody else names an index.
    """
    _require_searchable(recipe)
    recipe = _with(recipe, "--dense-index", dense_indexes)
    recipe = _with(recipe, "--sparse-index", sparse_indexes)
    recipe = _with(recipe, "--encoder", encoders)
    without = [each for each in recipe.inputs if each.index is None]
    if without:
        options = sorted({"--dense-index" if each.kind in DENSE else "--sparse-index" for each in without})
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected="an index for each input",
            found=f"none for {', '.join(each.kind for each in without)}",
            do=f"give {' and '.join(options)}, or the recipe's inputs an `index`",
        )
    return recipe


def _require_searchable(recipe: FusionRecipe) -> None:
    if any(each.kind not in DENSE + SPARSE for each in recipe.inputs):
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"inputs that can be searched: {', '.join(DENSE + SPARSE)}",
            found=", ".join(each.kind for each in recipe.inputs),
            do="fuse runs with `tasb fuse`, or name another recipe; `--set method=…` gives it this one's method",
        )


def _with(recipe: FusionRecipe, option: str, given: Sequence[str]) -> FusionRecipe:
    if not given:
        return recipe
    kinds, field = _SETS[option]
    places = [place for place, each in enumerate(recipe.inputs) if each.kind in kinds]
    if len(given) != len(places):
        wanted = ", ".join(recipe.inputs[place].kind for place in places)
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"{option} for each of its inputs {wanted}, in this order" if places else f"no {option}",
            found=f"{len(given)}: {', '.join(given)}",
            do=f"give {len(places) or 'none'}",
        )
    inputs = list(recipe.inputs)
    for place, value in zip(places, given, strict=True):
        inputs[place] = inputs[place].model_copy(update={field: value})
    return recipe.model_copy(update={"inputs": tuple(inputs)})
