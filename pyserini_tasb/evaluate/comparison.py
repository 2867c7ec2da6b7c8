"""Evaluated runs against one of them, or each against each other."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.evaluate.significance import PairedTest, paired_tests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyserini_tasb.evaluate.evaluation import RunEvaluation

Tests: TypeAlias = dict[str, dict[tuple[str, str], PairedTest]]
"""measure → (name of the run, name of the other) → the one against the other; Holm-corrected within a measure."""


def against_baseline(evaluations: Sequence[RunEvaluation], baseline: str, test: str = "t", seed: int = 0) -> Tests:
    """Every other run against the one named `baseline`, measure by measure."""
    base = next(evaluation for evaluation in evaluations if evaluation.name == baseline)
    return _tests([(other, base) for other in evaluations if other is not base], base.overall, test, seed)


def all_pairs(evaluations: Sequence[RunEvaluation], test: str = "t", seed: int = 0) -> Tests:
    """Every run against every later one, measure by measure."""
    return _tests(list(combinations(evaluations, 2)), evaluations[0].overall, test, seed)


def better_than(tests: Mapping[tuple[str, str], PairedTest], name: str) -> set[str]:
    """The runs that one run is significantly better than, by the tests of one measure."""
    as_run = {other for (run, other), test in tests.items() if run == name and test.significant and test.difference > 0}
    as_other = {
        run for (run, other), test in tests.items() if other == name and test.significant and test.difference < 0
    }
    return as_run | as_other


def _tests(
    pairs: Sequence[tuple[RunEvaluation, RunEvaluation]], measures: Iterable[str], test: str, seed: int
) -> Tests:
    return {
        measure: paired_tests(
            {(run.name, other.name): (run.per_query[measure], other.per_query[measure]) for run, other in pairs},
            test,
            seed,
        )
        for measure in measures
    }
