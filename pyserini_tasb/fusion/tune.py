"""`tune`: find a fusion's weights on some queries, and measure them on others."""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml

from pyserini_tasb import __version__
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import as_qrels
from pyserini_tasb.formats.run import as_run, named_runs
from pyserini_tasb.fusion.fuse import overrides, require_compatible
from pyserini_tasb.fusion.methods import METHODS, Fusion
from pyserini_tasb.fusion.trials import (
    FOLDS,
    Split,
    cached,
    require_apart,
    require_relevant,
    require_relevant_in_two,
    shuffled_folds,
    train_and_test,
    tuned_and_tested,
    tuned_by_folds,
)
from pyserini_tasb.fusion.tuning_set import TuningSet, ranked_measure
from pyserini_tasb.fusion.weight_curves import curves_through, drawn_curves
from pyserini_tasb.fusion.weight_search import CoordinateAscent, Grid, GridSearch, RandomSearch, Search
from pyserini_tasb.outputs import is_standard_output, new_files
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.recipes.types import FusionInput, FusionRecipe, WeightProvenance
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Literal

    from pyserini_tasb.formats.named import AnyQrels
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)
GRID, GRID_OF_SHARES, GRID_OF_SEVERAL = "0:2:0.005", "0:1:0.005", "0:2:0.05"


def tune(
    runs: Iterable[AnyRun] | Mapping[str, AnyRun],
    *,
    recipe: StrPath,
    qrels: AnyQrels | Sequence[AnyQrels],
    output: StrPath,
    measure: str = "nDCG@10",
    name: str | None = None,
    grid: str | None = None,
    search: Literal["coordinate", "random"] = "coordinate",
    samples: int = 1_000,
    seed: int = 0,
    folds: int | None = None,
    train_queries: StrPath | None = None,
    test_qrels: AnyQrels | Sequence[AnyQrels] | None = None,
    test_runs: Iterable[AnyRun] | None = None,
    allow_overlap: bool = False,
    remove_query: bool = False,
    set: str | Iterable[str] | Mapping[str, Any] = (),  # noqa: A002 - the option's name
    overwrite: bool = False,
) -> Tuned:
    """Tune the weights of a fusion recipe, and measure them on queries that were not used for tuning.

    The held-out queries are, by default, 5 folds, each tested with the weights tuned on the others; or the queries that
    `train_queries` does not name; or those of `test_qrels`.

    Args:
        runs: the recipe's inputs, in its order: paths, names, `Run`s, dictionaries or data frames; with several qrels,
            the runs of each set one after the other.
        recipe: the recipe whose weights are tuned: a name (`tasb+bm25`) or the path of a YAML file. The score of its
            method must be a weighted sum.
        qrels: judgments to tune on: a name, a path, qid → docid → grade or a data frame; or several.
        output: a new file for the tuned recipe, `….yaml`; the tuning curves go beside it as `.png` and `.csv`. `-` is
            standard output, without curves.
        measure: nDCG, AP, R, P or RR, as ir-measures writes them.
        name: the name of the tuned recipe; by default that of `output`, or `tuned` for `-`.
        grid: weights to try, `FROM:TO:STEP`; by default `0:2:0.005`, and `0:2:0.05` for three runs or more. For
            `convex` it is the share of the second run.
        search: the search for three runs or more: `coordinate` changes one weight after the other until none improves,
            `random` tries weights at random.
        samples: the number of combinations in a random search.
        seed: the random seed of the folds and of a random search.
        folds: the number of folds of a cross-validation by query; by default 5.
        train_queries: a file of the query ids to tune on, one per line; the others are for testing.
        test_qrels: judgments of other topics to test on.
        test_runs: the runs of these topics, in the order of `runs`.
        allow_overlap: allow a query in both tuning and test.
        remove_query: drop each query's own document, whose docid is the query's id, from every run.
        set: values that replace the recipe's, as `key=value` or key → value.
        overwrite: replace a recipe at `output` and its curves, once the new ones are complete.

    Raises:
        TasbError: the arguments contradict each other, a name does not exist, a file is faulty or cannot be written, or
            a query is in both tuning and test.
    """
    path = Path(output)
    name = _checked_name(name, path)
    source = fusion_recipe(os.fspath(recipe), overrides(set))
    paths = [path] if is_standard_output(path) else [path, path.with_suffix(".csv"), path.with_suffix(".png")]
    inputs = [recipe, runs, qrels, train_queries, test_qrels, test_runs]
    with new_files(paths, overwrite=overwrite, inputs=inputs) as (new_recipe, *new_curves):
        topics = TopicSets.of(qrels, runs, source, remove_query=remove_query)
        ranked, looked_for = ranked_measure(measure), _search(source, grid, search, samples, seed)
        queries = topics.queries(Fusion.from_recipe(source))
        weighable = queries.weighable(ranked)
        every = Split(cached(queries, ranked), np.arange(len(queries.qids)))
        if (test_qrels is None) != (test_runs is None):
            raise TasbError(
                expected=f"{argument('test_qrels')} and {argument('test_runs')} together",
                found="one of them",
                do=f"give both, or {argument('folds')}",
            )
        if test_qrels is not None and test_runs is not None:
            tested_on = TopicSets.of(test_qrels, test_runs, source, "test_runs", remove_query=remove_query)
            others = _other_topics(queries, tested_on, allow_overlap=allow_overlap)
            train, test = every, Split(cached(others, ranked), np.arange(len(others.qids)))
            require_relevant(others.weighable(ranked), test.queries, use="test", qrels=tested_on.name, measure=measure)
            held_out = f"the {len(test.queries)} queries of {tested_on.name}"
        elif train_queries is not None:
            trained, tested = train_and_test(queries.qids, Path(train_queries), allow_overlap=allow_overlap)
            train, test = Split(every.per_query, trained), Split(every.per_query, tested)
            require_relevant(weighable, tested, use="test", qrels=topics.name, measure=measure)
            held_out = f"the {len(tested)} {'' if allow_overlap else 'other '}queries of {topics.name}"
        else:
            folds = FOLDS if folds is None else folds
            train, test = every, None
            held_out = f"{folds}-fold cross-validation by query, seed {seed}"
        require_relevant(weighable, train.queries, use="tune", qrels=topics.name, measure=measure)
        if test is None:
            parts = shuffled_folds(len(queries.qids), FOLDS if folds is None else folds, seed)
            require_relevant_in_two(weighable, parts, qrels=topics.name, measure=measure)
            outcome = tuned_by_folds(train, parts, looked_for, topics.inputs)
        else:
            outcome = tuned_and_tested(train, test, looked_for, topics.inputs)
        provenance = WeightProvenance(
            tuned=True,
            source=f"tuned on {len(train.queries)} queries of {topics.name}",
            runs=topics.run_names,
            qrels=topics.qrels_names,
            remove_query=remove_query,
            queries=len(train.queries),
            measure=measure,
            search=looked_for.name,
            depth=queries.depth,
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
            tool=f"tasb tune of pyserini-tasb {__version__}",
            tuned_value=round(outcome.tuned_value, 6),
            held_out=held_out,
            held_out_value=round(outcome.held_out_value, 6),
        )
        new_recipe.write(as_yaml(with_weights(source, outcome.weights.tolist(), provenance, name)))
        curves = curves_through(outcome, looked_for, topics.runs_by_input, train, test)
        if new_curves:
            table, picture = drawn_curves(curves, measure, f"{source.name}, tuned on {topics.name}")
            new_curves[0].write(table)
            new_curves[1].write(picture)
    for curve in curves:
        if curve.chosen in (looked_for.grid.points[0], looked_for.grid.points[-1]):
            which = " ".join(curve.runs)
            LOG.info("the best weight of %s, %g, is at an end of %s", which, curve.chosen, argument("grid"))
    before = train.mean(np.array([[each.weight for each in source.inputs]]))[0]
    return Tuned(
        path=path,
        weights=tuple(outcome.weights.tolist()),
        measure=measure,
        queries=len(train.queries),
        tuned_value=outcome.tuned_value,
        untuned_value=float(before),
        held_out=held_out,
        held_out_value=outcome.held_out_value,
        own_best=outcome.own_best,
        gap=outcome.gap,
        fold_weights=tuple(map(tuple, outcome.fold_weights.tolist())),
    )


@dataclass(frozen=True)
class Tuned(FileResult):
    """A recipe with tuned weights, and the measure with them.

    Attributes:
        path: the recipe.
        weights: the weight of each input.
        measure: the measure that was tuned for.
        queries: the number of queries that were tuned on.
        tuned_value: the measure's mean over these queries.
        untuned_value: the same with the weights that the recipe had before.
        held_out: a description of the held-out queries.
        held_out_value: the mean over queries that were not used for tuning. This is the value to report.
        own_best: the mean over the same queries, if the weights are tuned on these queries themselves.
        gap: `own_best` minus `held_out_value`.
        fold_weights: the weights chosen without each fold; empty without cross-validation.
    """

    weights: tuple[float, ...]
    measure: str
    queries: int
    tuned_value: float
    untuned_value: float
    held_out: str
    held_out_value: float
    own_best: float
    gap: float
    fold_weights: tuple[tuple[float, ...], ...] = field(repr=False)

    @property
    def summary(self) -> str:
        """The weights, and the measure with them, as lines of text."""
        lines = [
            f"{self.path}: weights {' '.join(f'{weight:g}' for weight in self.weights)}",
            f"{self.measure} on the {self.queries} queries tuned on: {self.tuned_value:.4f}",
            f"{self.measure} there with the recipe's own weights: {self.untuned_value:.4f}",
            f"{self.measure} held out ({self.held_out}): {self.held_out_value:.4f}",
            f"if tuned on the test queries themselves: {self.own_best:.4f}, a gap of {self.gap:+.4f}",
        ]
        if self.fold_weights:
            chosen = ", ".join(" ".join(f"{weight:g}" for weight in row[1:]) for row in self.fold_weights)
            lines.append(f"chosen without each fold: {chosen}")
        return "\n".join(lines)


def _checked_name(name: str | None, output: Path) -> str:
    if output.suffix not in (".yaml", ".yml") and not is_standard_output(output):
        expected = f"{argument('output', '….yaml')}"
        raise TasbError(expected=expected, found=str(output), do="name the recipe's file")
    name = name or ("tuned" if is_standard_output(output) else output.stem)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]*", name):
        raise TasbError(
            expected="a name of small letters, digits and any of . _ + -",
            found=f"`{name}`",
            do=f"set {argument('name')}",
        )
    return name


def _search(recipe: FusionRecipe, grid: str | None, search: str, samples: int, seed: int) -> Search:
    if len(recipe.inputs) == 2:
        shares = METHODS[recipe.method].weights_sum_to_one
        points = Grid.parse(grid or (GRID_OF_SHARES if shares else GRID))
        if shares and not 0 <= points.first < points.last <= 1:
            raise TasbError(
                expected="shares from 0 to 1",
                found=f"{argument('grid', grid)}",
                do=f"{argument('grid', GRID_OF_SHARES)}",
            )
        return GridSearch(points, shares)
    points = Grid.parse(grid or GRID_OF_SEVERAL)
    if search == "random":
        if samples < 1:
            raise TasbError(expected=f"{argument('samples')} of 1 or more", found=f"{samples}", do="1000 is usual")
        return RandomSearch(points, samples, seed)
    return CoordinateAscent(points)


def _other_topics(tuned_on: TuningSet, topics: TopicSets, *, allow_overlap: bool) -> TuningSet:
    others = topics.queries(tuned_on.fusion)
    require_apart(tuned_on.qids, others.qids, allow_overlap=allow_overlap)
    return others


def with_weights(
    recipe: FusionRecipe, weights: Sequence[float], provenance: WeightProvenance, name: str
) -> FusionRecipe:
    """The same recipe under another name, with other weights."""
    inputs = [
        FusionInput(**{**each.model_dump(), "weight": weight})
        for each, weight in zip(recipe.inputs, weights, strict=True)
    ]
    return FusionRecipe(**{**recipe.model_dump(), "name": name, "inputs": inputs, "provenance": provenance})


def as_yaml(recipe: FusionRecipe) -> str:
    """A recipe as YAML, without what is a default."""
    text = yaml.safe_dump(
        recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110
    )
    head = "# Written by `tasb tune`; every key is explained in fusion/README.md of pyserini-tasb.\n"
    return head + text


@dataclass(frozen=True, eq=False)
class TopicSets:
    """One set of topics or several, each with its judgments and its runs.

    Attributes:
        qrels: the name and the judgments of each set.
        runs: names and runs, set by set, in the order of the recipe's inputs.
        inputs: how many runs each set has.
        remove_query: a document whose docid is the query's id counts as absent from the runs.
    """

    qrels: tuple[tuple[str, AnyQrels], ...]
    runs: tuple[tuple[str, AnyRun], ...]
    inputs: int
    remove_query: bool = False

    @classmethod
    def of(
        cls,
        qrels: AnyQrels | Sequence[AnyQrels],
        runs: Iterable[AnyRun] | Mapping[str, AnyRun],
        recipe: FusionRecipe,
        given_to: str = "runs",
        *,
        remove_query: bool = False,
    ) -> TopicSets:
        """The sets that a user gave.

        Args:
            qrels: one or more.
            runs: the runs, set by set.
            recipe: what the runs are for.
            given_to: the argument that the runs were given to, for errors.
            remove_query: see the attribute.

        Raises:
            TasbError: more or fewer runs than the sets need, naming what each is to be.
        """
        judgments, found = _named_qrels(qrels), named_runs(runs)
        wanted = [each.encoder or each.kind for each in recipe.inputs]
        if len(found) != len(wanted) * len(judgments):
            each = f", for each of {' '.join(name for name, _ in judgments)}" if len(judgments) > 1 else ""
            needed = len(wanted) * len(judgments)
            raise TasbError(
                where=f"recipe {recipe.name}",
                expected=f"{needed} {argument(given_to)}, in this order: {', '.join(wanted)}{each}",
                found=f"{len(found)}: {', '.join(name for name, _ in found)}",
                do="give one run for each input",
            )
        return cls(tuple(judgments), tuple(found), len(wanted), remove_query)

    @property
    def qrels_names(self) -> tuple[str, ...]:
        """The names of the judgments, set by set."""
        return tuple(name for name, _ in self.qrels)

    @property
    def run_names(self) -> tuple[str, ...]:
        """The names of the runs, set by set."""
        return tuple(name for name, _ in self.runs)

    @property
    def name(self) -> str:
        """The name of all sets together."""
        return " and ".join(self.qrels_names)

    @property
    def runs_by_input(self) -> list[tuple[str, ...]]:
        """The names of each input's runs, one of each set."""
        return [self.run_names[number :: self.inputs] for number in range(self.inputs)]

    def queries(self, fusion: Fusion) -> TuningSet:
        """The queries of all sets, with their candidates; what is odd about runs is logged.

        Raises:
            TasbError: a name that leads nowhere, a faulty file, runs that do not belong together, or a query of two
                sets.
        """
        return TuningSet.joined(list(self._sets(fusion)))

    def _sets(self, fusion: Fusion) -> Iterator[TuningSet]:
        for number, (_, qrels) in enumerate(self.qrels):
            runs = self.runs[number * self.inputs : (number + 1) * self.inputs]
            tables = {name: as_run(run, name=name, remove_query=self.remove_query).table for name, run in runs}
            require_compatible(tables)
            yield TuningSet.of(list(tables.values()), as_qrels(qrels), fusion)


def _named_qrels(given: AnyQrels | Sequence[AnyQrels]) -> list[tuple[str, AnyQrels]]:
    is_one = isinstance(given, str | os.PathLike | Mapping) or hasattr(given, "columns")
    sets: Iterable[Any] = [given] if is_one else cast("Iterable[Any]", given)
    return [
        (str(each) if isinstance(each, str | os.PathLike) else getattr(each, "name", "qrels"), each) for each in sets
    ]
