"""`tasb tune`: find a fusion's weights, and say what they are worth on queries they were not found on."""

from __future__ import annotations

import datetime as dt
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from pyserini_tasb import __version__
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_qrels
from pyserini_tasb.formats.run_reader import load_run_table
from pyserini_tasb.fusion.fuse import fusion_of
from pyserini_tasb.fusion.fusing import require_compatible
from pyserini_tasb.fusion.trials import FOLDS, Side, by_folds, by_test, folds_of, remembering, require_apart, split
from pyserini_tasb.fusion.tuning_set import TuningSet, ranked_measure
from pyserini_tasb.fusion.weight_curves import curves_through, write_curves
from pyserini_tasb.fusion.weight_search import CoordinateAscent, Grid, GridSearch, RandomSearch, Search
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.recipes.types import FusionInput, FusionRecipe, WeightProvenance

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from pyserini_tasb.fusion.fusing import Fusion
    from pyserini_tasb.fusion.trials import Outcome
    from pyserini_tasb.fusion.tuning_set import RankedMeasure


GRID, GRID_OF_SHARES, GRID_OF_SEVERAL = "0:2:0.005", "0:1:0.005", "0:2:0.05"


def run(arguments: argparse.Namespace) -> int:
    """Write the tuned recipe at `arguments.output`, and the curves beside it; 0.

    Raises:
        TasbError: choices that do not go together, names that lead nowhere, faulty files, queries both tuned and
            tested on, or a file that cannot be written.
    """
    output = Path(arguments.output)
    name = _checked_name(arguments.name, output)
    recipe = fusion_recipe(arguments.recipe, arguments.set)
    topics = TopicSets.of(arguments.qrels, arguments.runs, recipe, remove_query=arguments.remove_query)
    measure, search = ranked_measure(arguments.measure), _search(arguments, recipe)
    queries = topics.queries(fusion_of(recipe))
    train, test, said = _sides(arguments, recipe, topics, queries, measure)
    if test is None:
        folds = folds_of(len(queries.qids), FOLDS if arguments.folds is None else arguments.folds, arguments.seed)
        outcome = by_folds(train, folds, said, search, topics.inputs)
    else:
        outcome = by_test(train, test, said, search, topics.inputs)
    provenance = _provenance(
        topics,
        outcome,
        measure=arguments.measure,
        search=search.name,
        depth=queries.depth,
        queries=len(train.queries),
    )
    write_recipe(with_weights(recipe, outcome.weights.tolist(), provenance, name), output)
    print("\n".join(_report(arguments, recipe, outcome, train)))
    curves = curves_through(outcome, search, topics, train, test)
    title = f"{recipe.name}, tuned on {topics.name}"
    write_curves(curves, arguments.measure, title, output.with_suffix(".csv"), output.with_suffix(".png"))
    for curve in curves:
        if curve.chosen in (search.grid.points[0], search.grid.points[-1]):
            note = f"the best weight of {' '.join(curve.runs)}, {curve.chosen:g}, is an end of --grid"
            print(f"tasb tune: note: {note}", file=sys.stderr)
    return 0


def _checked_name(name: str | None, output: Path) -> str:
    if output.suffix not in (".yaml", ".yml"):
        raise TasbError(expected="--output ….yaml", found=str(output), do="name the recipe's file")
    name = name or output.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]*", name):
        raise TasbError(
            expected="a name of small letters, digits and any of . _ + -", found=f"`{name}`", do="set --name"
        )
    return name


def _search(arguments: argparse.Namespace, recipe: FusionRecipe) -> Search:
    if len(recipe.inputs) == 2:
        shares = recipe.method == "convex"
        grid = Grid.parse(arguments.grid or (GRID_OF_SHARES if shares else GRID))
        if shares and not 0 <= grid.first < grid.last <= 1:
            raise TasbError(expected="shares from 0 to 1", found=f"--grid {arguments.grid}", do="--grid 0:1:0.005")
        return GridSearch(grid, shares)
    grid = Grid.parse(arguments.grid or GRID_OF_SEVERAL)
    if arguments.search == "random":
        if arguments.samples < 1:
            raise TasbError(expected="--samples of 1 or more", found=f"{arguments.samples}", do="1000 is usual")
        return RandomSearch(grid, arguments.samples, arguments.seed)
    return CoordinateAscent(grid)


def _sides(
    arguments: argparse.Namespace, recipe: FusionRecipe, topics: TopicSets, queries: TuningSet, measure: RankedMeasure
) -> tuple[Side, Side | None, str]:
    """What to tune on, what to test on (None: what is tuned on, by folds), and what is held out, in words."""
    per_query, every = remembering(queries, measure), np.arange(len(queries.qids))
    if bool(arguments.test_qrels) != bool(arguments.test_runs):
        raise TasbError(
            expected="--test-qrels and --test-runs together", found="one of them", do="give both, or --folds"
        )
    if arguments.test_qrels:
        tested_on = TopicSets.of(
            arguments.test_qrels, arguments.test_runs, recipe, "--test-runs", remove_query=arguments.remove_query
        )
        others = tested_on.queries(queries.fusion)
        require_apart(queries.qids, others.qids, allow_overlap=arguments.allow_overlap)
        test = Side(remembering(others, measure), np.arange(len(others.qids)))
        return Side(per_query, every), test, f"the {len(others.qids)} queries of {tested_on.name}"
    if arguments.train_queries:
        path = Path(arguments.train_queries)
        trained, tested = split(queries.qids, path, allow_overlap=arguments.allow_overlap)
        said = f"the {len(tested)} {'' if arguments.allow_overlap else 'other '}queries of {topics.name}"
        return Side(per_query, trained), Side(per_query, tested), said
    folds = FOLDS if arguments.folds is None else arguments.folds
    return Side(per_query, every), None, f"{folds}-fold cross-validation by query, seed {arguments.seed}"


def _provenance(
    topics: TopicSets, outcome: Outcome, *, measure: str, search: str, depth: int, queries: int
) -> WeightProvenance:
    return WeightProvenance(
        tuned=True,
        source=f"tuned on {queries} queries of {topics.name}",
        runs=topics.runs,
        qrels=topics.qrels,
        remove_query=topics.remove_query,
        queries=queries,
        measure=measure,
        search=search,
        depth=depth,
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        tool=f"tasb tune of pyserini-tasb {__version__}",
        tuned_value=round(outcome.tuned_value, 6),
        held_out=outcome.held_out,
        held_out_value=round(outcome.held_out_value, 6),
    )


def _report(arguments: argparse.Namespace, recipe: FusionRecipe, outcome: Outcome, train: Side) -> list[str]:
    measure = arguments.measure
    before = train.mean(np.array([[each.weight for each in recipe.inputs]]))[0]
    lines = [
        f"{arguments.output}: weights {' '.join(f'{weight:g}' for weight in outcome.weights)}",
        f"{measure} on the {len(train.queries)} queries tuned on: {outcome.tuned_value:.4f}",
        f"{measure} there with the recipe's own weights: {before:.4f}",
        f"{measure} held out ({outcome.held_out}): {outcome.held_out_value:.4f}",
        f"tuned on the very queries it is measured on it would be {outcome.own_best:.4f}, a gap of {outcome.gap:+.4f}",
    ]
    if len(outcome.fold_weights):
        chosen = ", ".join(" ".join(f"{weight:g}" for weight in row[1:]) for row in outcome.fold_weights)
        lines.append(f"chosen without each fold: {chosen}")
    return lines


# --------
# A recipe with the weights that were found, and where they come from.


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


# --------
# Judged queries of one set of topics or of several, each with its own runs.


@dataclass(frozen=True)
class TopicSets:
    """What belongs together, by name or path.

    Attributes:
        qrels: of each set.
        runs: set by set, in the order of the recipe's inputs.
        inputs: how many runs each set has.
        remove_query: a document whose docid is the query's id counts as absent from the runs.
    """

    qrels: tuple[str, ...]
    runs: tuple[str, ...]
    inputs: int
    remove_query: bool = False

    @classmethod
    def of(
        cls,
        qrels: Sequence[str],
        runs: Sequence[str],
        recipe: FusionRecipe,
        option: str = "--runs",
        *,
        remove_query: bool = False,
    ) -> TopicSets:
        """Those a user gave.

        Args:
            qrels: one or more.
            runs: to be dealt out to them.
            recipe: what the runs are for.
            option: that the runs were given to, for errors.
            remove_query: as the attribute.

        Raises:
            TasbError: more or fewer runs than the sets need, naming what each is to be.
        """
        wanted = [each.encoder or each.kind for each in recipe.inputs]
        if len(runs) != len(wanted) * len(qrels):
            each = f", for each of {' '.join(qrels)}" if len(qrels) > 1 else ""
            raise TasbError(
                where=f"recipe {recipe.name}",
                expected=f"{len(wanted) * len(qrels)} {option}, in this order: {', '.join(wanted)}{each}",
                found=f"{len(runs)}: {', '.join(runs)}",
                do="give one run for each input",
            )
        return cls(tuple(qrels), tuple(runs), len(wanted), remove_query)

    @property
    def name(self) -> str:
        """Of the qrels together."""
        return " and ".join(self.qrels)

    def runs_of_input(self, number: int) -> tuple[str, ...]:
        """One of each set."""
        return self.runs[number :: self.inputs]

    def queries(self, fusion: Fusion) -> TuningSet:
        """All of them, with their candidates; what is odd about runs is noted on stderr.

        Raises:
            TasbError: a name that leads nowhere, a faulty file, runs that do not belong together, or a query of two
                sets.
        """
        return TuningSet.joined([self._queries(*each, fusion) for each in self._dealt_out()])

    def _dealt_out(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for number, qrels in enumerate(self.qrels):
            yield qrels, self.runs[number * self.inputs : (number + 1) * self.inputs]

    def _queries(self, qrels: str, runs: Sequence[str], fusion: Fusion) -> TuningSet:
        tables = {name: load_run_table(name, remove_query=self.remove_query) for name in runs}
        for note in require_compatible(tables):
            print(f"tasb tune: note: {note}", file=sys.stderr)
        return TuningSet.of(list(tables.values()), load_qrels(qrels), fusion)
