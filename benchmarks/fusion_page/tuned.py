"""Weights tuned in several ways, and what they gave."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from topic_set import MEASURES

from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.fusion.trials import FOLDS, best_weights, cached, cross_validated, shuffled_folds
from pyserini_tasb.fusion.tuning_set import ranked_measure
from pyserini_tasb.fusion.weight_search import Grid, GridSearch
from pyserini_tasb.recipes.lookup import fusion_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from topic_set import PerQuery, TopicSet

    from pyserini_tasb.fusion.trials import PerQuery as OfWeights


BORROWED, BORROWED_FROM = 0.12, "TCT-ColBERT"
SHUFFLES = 20
OTHER, FOLDED, ITSELF = "the other set", f"{FOLDS} folds", "this set"


@dataclass(frozen=True)
class Tuned:
    """A fusion whose second weight is tuned for a measure."""

    name: str
    fusion: Fusion
    measure: str = MEASURES[0]

    @property
    def search(self) -> GridSearch:
        shares = self.fusion.method == "convex"
        return GridSearch(Grid.parse("0:1:0.005" if shares else "0:2:0.005"), shares)

    def per_query(self, topics: TopicSet) -> OfWeights:
        return _per_query(topics, self.fusion, self.measure)

    def best(self, topics: TopicSet) -> NDArray[np.float64]:
        return best_weights(self.per_query(topics), np.arange(len(topics.qrels)), self.search, runs=2)


@functools.cache
def _per_query(topics: TopicSet, fusion: Fusion, measure: str) -> OfWeights:
    return cached(topics.tuning_set(fusion), ranked_measure(measure))


LINEAR = tuple(Tuned("linear", Fusion("linear"), measure) for measure in MEASURES)
TUNED = (
    LINEAR[0],
    replace(LINEAR[1], name=f"linear, for {MEASURES[1]}"),
    *(Tuned(f"convex, {name}", Fusion("convex", normalization=name)) for name in ("max", "min-max", "z-score")),
    Tuned("rrf", Fusion("rrf")),
)


@dataclass(frozen=True, eq=False)
class Row:
    """A fusion, where its alpha is from, and what it gave.

    Attributes:
        alphas: one, or one for each fold.
        held_out: whether no query had a part in the choice of the alpha that it was fused with.
    """

    fusion: str
    source: str
    alphas: tuple[float, ...]
    per_query: PerQuery
    held_out: bool


def tuned_rows(here: TopicSet, other: TopicSet) -> list[Row]:
    """Weights from the other set, from this one's other folds, and from this one itself."""
    shipped = Fusion.from_recipe(fusion_recipe("tasb+bm25"))
    untuned = replace(shipped, weights=(1.0, BORROWED))
    rows = [_row(here, "linear", BORROWED_FROM, untuned, held_out=True)]
    for tuned in TUNED:
        for source, chosen_on in ((OTHER, other), (ITSELF, here)):
            fusion = replace(tuned.fusion, weights=tuple(tuned.best(chosen_on).tolist()))
            rows.append(_row(here, tuned.name, source, fusion, held_out=chosen_on is other))
        rows.insert(-1, _folded(here, tuned))
    return [*rows, _row(here, "`tasb+bm25`", "both sets", shipped, held_out=False)]


def shuffled_values(topics: TopicSet) -> NDArray[np.float64]:
    """Cross-validated nDCG@10 of `linear`, for each seed of the folds, shape (SHUFFLES,)."""
    per_query = LINEAR[0].per_query(topics)
    folds = [shuffled_folds(len(topics.qrels), FOLDS, seed) for seed in range(SHUFFLES)]
    return np.array([cross_validated(per_query, each, LINEAR[0].search, runs=2).mean for each in folds])


def _row(topics: TopicSet, name: str, source: str, fusion: Fusion, *, held_out: bool) -> Row:
    alphas = fusion.weights_for(2)[1:]
    return Row(name, source, alphas, topics.per_query(topics.fused(fusion)), held_out)


def _folded(topics: TopicSet, tuned: Tuned) -> Row:
    """One run of all folds, each fused by the weights that the others chose."""
    qids = sorted(topics.qrels)
    folds = shuffled_folds(len(qids), FOLDS, seed=0)
    weights = cross_validated(tuned.per_query(topics), folds, tuned.search, runs=2).weights
    run = {}
    for fold, row in zip(folds, weights.tolist(), strict=True):
        fused = topics.fused(replace(tuned.fusion, weights=tuple(row)))
        run |= {qids[number]: fused[qids[number]] for number in fold}
    return Row(tuned.name, FOLDED, tuple(weights[:, 1].tolist()), topics.per_query(run), held_out=True)
