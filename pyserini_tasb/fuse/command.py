"""`tasb fuse`: run files to one run file."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.columnar import InOrder, load_run_table, write_run_tables
from pyserini_tasb.fuse.compatibility import require_compatible
from pyserini_tasb.fuse.fusing import fuse_tables
from pyserini_tasb.fuse.fusion import DEPTH, RRF_K, Fusion
from pyserini_tasb.fuse.recipe import fusion_of, remove_query_note, require_runs, weight_note

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from pyserini_tasb.evaluate.columnar import RunTable
    from pyserini_tasb.recipes import FusionRecipe

# What a recipe says, --set changes; without one these do.
_WITHOUT_RECIPE = ("normalisation", "missing", "minimums", "rrf_k", "depth", "output_depth")


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
    from pyserini_tasb.recipes import fusion_recipe  # brings pydantic, which takes a while

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
        normalisation=arguments.normalisation or "none",
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
