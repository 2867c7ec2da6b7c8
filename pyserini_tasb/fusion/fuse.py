"""`tasb fuse`: run files to one run file, by options or by a recipe."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.run_reader import load_run_table
from pyserini_tasb.formats.run_writer import write_run_tables
from pyserini_tasb.fusion.fusing import DEPTH, RRF_K, Fusion, fuse_tables, require_compatible
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.formats.run_table import RunTable
    from pyserini_tasb.recipes.types import FusionInput, FusionRecipe


# What a recipe says, --set changes; without one these do.
_WITHOUT_RECIPE = ("normalization", "missing", "minimums", "rrf_k", "depth", "output_depth")


def run(arguments: argparse.Namespace) -> int:
    """Write the fused run at `arguments.output`; 0.

    Raises:
        TasbError: choices that do not go together, a run that is none, runs of different topics or collections, or a
            run that cannot be written. What stood at the output before is still there.
    """
    recipe = _recipe(arguments) if arguments.recipe else None
    fusion = fusion_of(recipe, arguments.weights) if recipe else _from_options(arguments)
    fusion.require_fits(len(arguments.runs))
    _require_distinct(arguments.runs)
    load = functools.partial(load_run_table, remove_query=arguments.remove_query)
    tables = dict(zip(arguments.runs, InOrder(load, arguments.runs), strict=True))
    _require_hits(tables)
    notes = require_compatible(tables)
    if recipe and not arguments.weights:
        depth = max(int(table.lengths.max(initial=0)) for table in tables.values())
        notes += filter(None, [weight_note(recipe, depth), remove_query_note(recipe, removed=arguments.remove_query)])
    for note in notes:
        print(f"tasb fuse: note: {note}", file=sys.stderr)
    fused = fuse_tables(list(tables.values()), fusion)
    tag = arguments.tag or (recipe.name if recipe else f"tasb.{fusion.method}")
    hits = write_run_tables(Path(arguments.output), fused, tag, form=arguments.format)
    print(f"{arguments.output}: {hits:,} hits of {len(tables)} runs, {_said(fusion, len(tables))}")
    return 0


def _recipe(arguments: argparse.Namespace) -> FusionRecipe:
    from pyserini_tasb.recipes.lookup import fusion_recipe  # brings pydantic, which takes a while

    given = [name for name in _WITHOUT_RECIPE if getattr(arguments, name) is not None]
    if given:
        raise TasbError(
            expected=f"`--set key=value` for what the recipe {arguments.recipe} says",
            found=", ".join(f"--{name.replace('_', '-')}" for name in given),
            do=f"e.g. --set {given[0]}=…",
        )
    recipe = fusion_recipe(arguments.recipe, arguments.set)
    require_runs(recipe, arguments.runs)
    return recipe


def _from_options(arguments: argparse.Namespace) -> Fusion:
    if arguments.set:
        raise TasbError(expected="--recipe beside --set", found="--method", do="give each choice its own option")
    return Fusion(
        method=arguments.method,
        weights=tuple(arguments.weights) if arguments.weights else None,
        normalisation=arguments.normalization or "none",
        missing=arguments.missing,
        theoretical_minimums=tuple(arguments.minimums) if arguments.minimums else None,
        rrf_k=RRF_K if arguments.rrf_k is None else arguments.rrf_k,
        depth=DEPTH if arguments.depth is None else arguments.depth,
        output_depth=DEPTH if arguments.output_depth is None else arguments.output_depth,
    )


def _require_distinct(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TasbError(expected="different runs", found=f"{', '.join(twice)} more than once", do="give each run once")


def _require_hits(tables: Mapping[str, RunTable]) -> None:
    emptied = [name for name, table in tables.items() if not table.qids]  # a file without lines is refused when read
    if emptied:
        raise TasbError(
            where=", ".join(emptied),
            expected="documents besides those whose id is their query's",
            found="none: --remove-query drops all",
            do="leave out --remove-query, if queries and documents only happen to have the same ids",
        )


def _said(fusion: Fusion, runs: int) -> str:
    weights = " ".join(f"{weight:g}" for weight in fusion.weights_of(runs))
    normalised = f", normalisation {fusion.normalisation}" if fusion.normalisation != "none" else ""
    return f"{fusion.method}{normalised}, weights {weights}"


# --------
# From a recipe to the choices it makes.

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
    from pyserini_tasb.recipes.lookup import encoder_card

    if source.kind == "dense" and source.encoder and encoder_card(source.encoder).normalise:
        return LOWEST_COSINE
    return None  # a dot product has none
