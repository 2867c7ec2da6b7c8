"""From a recipe to the choices it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.fuse.fusion import Fusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.recipes import FusionInput, FusionRecipe

# The lowest that a sum of term weights, none of them negative, can be.
LOWEST_SPARSE_SCORE = 0.0
LOWEST_COSINE = -1.0


def fusion_of(recipe: FusionRecipe, weights: Sequence[float] | None = None) -> Fusion:
    """What a recipe says, with other weights if they are given.

    Raises:
        TasbError: an unknown name, numbers out of range, or choices that do not go together.
    """
    fusion = Fusion(
        method=recipe.method,
        weights=tuple(weights) if weights is not None else tuple(each.weight for each in recipe.inputs),
        normalisation=recipe.normalisation,
        missing=recipe.missing,
        theoretical_minimums=tuple(map(_theoretical_minimum, recipe.inputs)),
        rrf_k=recipe.rrf_k,
        depth=recipe.depth,
        output_depth=recipe.output_depth,
    )
    fusion.require_fits(len(recipe.inputs))
    return fusion


def require_runs(recipe: FusionRecipe, runs: Sequence[str]) -> None:
    """Refuse another number of runs than the recipe has inputs.

    Raises:
        TasbError: naming what each of them is to be.
    """
    if len(runs) != len(recipe.inputs):
        wanted = ", ".join(each.encoder or each.kind for each in recipe.inputs)
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"{len(recipe.inputs)} runs, in this order: {wanted}",
            found=f"{len(runs)}: {', '.join(runs)}",
            do="give one run for each input",
        )


def weight_note(recipe: FusionRecipe, depth: int) -> str | None:
    """What a recipe's weights are not known to be good for, if there is anything.

    Args:
        recipe: whose weights are used.
        depth: the most hits that a run has for a query, before they are cut to the recipe's depth.
    """
    provenance, depth = recipe.provenance, min(depth, recipe.depth)
    if not provenance.tuned:
        return f"the weights of {recipe.name} are untuned: {provenance.source}"
    if provenance.depth is None or depth <= provenance.depth:
        return None
    return (
        f"the weights of {recipe.name} were tuned at depth {provenance.depth}, and are untuned at depth {depth} of "
        f"these runs: --set depth={provenance.depth}, or `tasb tune`"
    )


def remove_query_note(recipe: FusionRecipe, *, removed: bool) -> str | None:
    """A note where a recipe was tuned without queries' own documents, and they are in now.

    Args:
        recipe: whose weights are used.
        removed: whether `--remove-query` was given.
    """
    if removed or not recipe.provenance.remove_query:
        return None
    return f"the weights of {recipe.name} were tuned with --remove-query, which is not given here"


def _theoretical_minimum(source: FusionInput) -> float | None:
    if source.theoretical_minimum is not None:
        return source.theoretical_minimum
    if source.kind in ("bm25", "doct5query", "impact"):
        return LOWEST_SPARSE_SCORE
    from pyserini_tasb.recipes import encoder_card

    if source.kind == "dense" and source.encoder and encoder_card(source.encoder).normalise:
        return LOWEST_COSINE
    return None  # a dot product has none
