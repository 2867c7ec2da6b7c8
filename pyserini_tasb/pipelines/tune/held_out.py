"""Weights from some queries, their worth on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.pipelines.tune.weight_search import Search

    Queries = NDArray[np.int64]
    # Weights [weights, runs] to the measure of each query, [queries, weights].
    PerQuery = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was found on queries that had no part in the choice.

    Attributes:
        weights: of each fold, [folds, runs].
        values: of each query tested on, each under its own fold's weights.
    """

    weights: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over the queries."""
        return float(self.values.mean())


def folds_of(queries: int, folds: int, seed: int) -> list[Queries]:
    """Query numbers in parts of about equal size, shuffled by the seed.

    Raises:
        TasbError: fewer than two parts, or more than there are queries.
    """
    if not 2 <= folds <= queries:
        raise TasbError(
            expected=f"2 to {queries} folds, as there are {queries} queries", found=f"{folds}", do="e.g. --folds 5"
        )
    return np.array_split(np.random.default_rng(seed).permutation(queries), folds)


def tuned_on(per_query: PerQuery, queries: Queries, search: Search, runs: int) -> NDArray[np.float64]:
    """The best weights for the mean over some queries, shape (runs,)."""
    return search.best(lambda weights: per_query(weights)[queries].mean(axis=0), runs)


def cross_validated(per_query: PerQuery, folds: Sequence[Queries], search: Search, runs: int) -> HeldOut:
    """Each fold's queries under the weights found on all the others."""
    values = np.zeros(sum(map(len, folds)))
    weights = []
    for number, tested in enumerate(folds):
        others = np.concatenate([fold for other, fold in enumerate(folds) if other != number])
        chosen = tuned_on(per_query, np.sort(others), search, runs)
        values[tested] = per_query(chosen[None, :])[tested, 0]
        weights.append(chosen)
    return HeldOut(np.stack(weights), values)
