"""The settings of a fusion: methods, normalisations, and scores for documents that a run lacks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.registry import Registry, summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.fusion.candidates import Candidates, ScoredLists
    from pyserini_tasb.recipes.types import FusionInput, FusionRecipe

    Missing = Callable[["Normalisation", ScoredLists], NDArray[np.float64]]
    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]
    Contributions = Callable[[Candidates], Matrix]
    Combination = Callable[[Matrix, NDArray[np.bool_]], Column]
    ShiftAndScale = Callable[[ScoredLists], tuple[Column, Column]]


DEPTH = 1000
RRF_K = 60.0


@dataclass(frozen=True)
class Fusion:
    """The settings of a fusion.

    Attributes:
        method: a name of `METHODS`.
        weights: a weight for each run, which multiplies the run's contribution; None is 1 for each.
        normalization: a name of `NORMALISATIONS`, applied to each run's list for a query.
        missing: a name of `MISSING`: the rule for the score of a document that a run lacks; None is the method's own
            rule.
        theoretical_minimums: the lowest score that each run's model can give; None if it is unknown.
        rrf_k: the constant k of RRF.
        depth: the number of documents to use from each list; None is all.
        hits: the number of documents to keep for each query; None is all.
    """

    method: str = "linear"
    weights: tuple[float, ...] | None = None
    normalization: str = "none"
    missing: str | None = None
    theoretical_minimums: tuple[float | None, ...] | None = None
    rrf_k: float = RRF_K
    depth: int | None = DEPTH
    hits: int | None = DEPTH

    @classmethod
    def from_recipe(cls, recipe: FusionRecipe, weights: Sequence[float] | None = None) -> Fusion:
        """The fusion of a recipe, with other weights if they are given.

        Raises:
            TasbError: an unknown name, numbers out of range, or choices that do not go together.
        """
        fusion = cls(
            method=recipe.method,
            weights=tuple(weights or (each.weight for each in recipe.inputs)),
            normalization=recipe.normalization,
            missing=recipe.missing,
            theoretical_minimums=tuple(map(_theoretical_minimum, recipe.inputs)),
            rrf_k=recipe.rrf_k,
            depth=recipe.depth,
            hits=recipe.hits,
        )
        fusion.require_fits(len(recipe.inputs))
        return fusion

    @property
    def chosen_method(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def chosen_normalisation(self) -> Normalisation:
        """The normalisation itself."""
        return NORMALISATIONS[self.normalization]

    @property
    def chosen_missing(self) -> str:
        """The rule for documents that a run lacks."""
        return self.missing or self.chosen_method.missing

    def weights_for(self, runs: int) -> tuple[float, ...]:
        """One weight for each of so many runs."""
        return self.weights if self.weights is not None else (1.0,) * runs

    def minimum(self, run: int) -> float | None:
        """The lowest score that a run's model can give."""
        return None if self.theoretical_minimums is None else self.theoretical_minimums[run]

    def require_fits(self, runs: int) -> None:
        """Refuse what does not go together.

        Args:
            runs: how many are to be fused.

        Raises:
            TasbError: an unknown name, fewer than two runs, numbers that do not fit the runs or are out of range, a
                choice that the method does not make, or a theoretical minimum that is needed and not known.
        """
        method, normalisation = self.chosen_method, self.chosen_normalisation
        if runs < 2:
            raise _mismatch("two runs or more", f"{runs}", f"give all runs to {argument('runs')}")
        self._require_one_each(runs)
        method.require_weights(self.weights_for(runs))
        if self.missing is not None:
            _require_missing(self.missing, self.method, method)
        if not method.uses_scores and self.normalization != "none":
            found = f"`{self.normalization}` with `{self.method}`, which uses only ranks"
            raise _mismatch("no normalisation", found, f"leave {argument('normalization')} out")
        if normalisation.needs_minimum or self.chosen_missing == "theoretical":
            self._require_minimums(runs)
        if not (math.isfinite(self.rrf_k) and self.rrf_k >= 0):
            raise _mismatch("k of RRF from 0 on", f"{self.rrf_k}", "60 is usual")
        for depth in (self.depth, self.hits):
            if depth is not None and depth < 1:
                raise _mismatch("a depth of 1 or more", f"{depth}", "1000 is usual")

    def described(self, runs: int) -> str:
        """The method, the normalisation and the weights, for a line of text."""
        normalised = f", normalisation {self.normalization}" if self.normalization != "none" else ""
        return f"{self.method}{normalised}, weights {_numbers(self.weights_for(runs))}"

    def _require_one_each(self, runs: int) -> None:
        for what, values in (("weight", self.weights), ("theoretical minimum", self.theoretical_minimums)):
            if values is not None and len(values) != runs:
                raise _mismatch(f"one {what} for each of the {runs} runs", f"{len(values)}", "give one a run, in order")
        if not all(map(math.isfinite, self.weights_for(runs))):
            raise _mismatch("finite weights", _numbers(self.weights_for(runs)), "give numbers such as 1 0.1")
        minimums = [each for each in self.theoretical_minimums or () if each is not None]
        if not all(map(math.isfinite, minimums)):
            raise _mismatch("finite minimums", _numbers(minimums), "give numbers such as 0 -1")

    def _require_minimums(self, runs: int) -> None:
        without = [str(run + 1) for run in range(runs) if self.minimum(run) is None]
        if without:
            raise _mismatch(
                "the lowest score that each run's model can give",
                f"none for run {', '.join(without)}",
                f"{argument('minimums')}: 0 for BM25, -1 for a cosine, one for each run",
            )


# The lowest that a sum of term weights, none of them negative, can be.
LOWEST_SPARSE_SCORE = 0.0
LOWEST_COSINE = -1.0


def _theoretical_minimum(source: FusionInput) -> float | None:
    if source.theoretical_minimum is not None:
        return source.theoretical_minimum
    if source.kind in ("bm25", "doct5query", "impact"):
        return LOWEST_SPARSE_SCORE
    from pyserini_tasb.recipes.lookup import encoder_card

    if source.kind == "dense" and source.encoder and encoder_card(source.encoder).normalise:
        return LOWEST_COSINE
    return None  # a dot product has none


def _require_missing(missing: str, name: str, method: Method) -> None:
    MISSING[missing]  # or it says what there is
    if missing not in method.missing_choices:
        raise _mismatch(
            f"for `{name}`: {', '.join(method.missing_choices)}",
            f"`{missing}` for documents that a run lacks",
            f"leave out {argument('missing')}, or choose one of these",
        )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _mismatch(expected: str, found: str, do: str) -> TasbError:
    return TasbError(expected=expected, found=found, do=do)


DROP, NOTHING = "drop", "nothing"
SCORE_MISSING = ("minimum", "zero", "theoretical", DROP)
RANK_MISSING = (NOTHING, DROP)


@dataclass(frozen=True)
class Method:
    """A fusion method: each run's contribution to a document's score, and how the contributions are combined.

    Attributes:
        summary: one line, for `tasb list fusion-methods`.
        contributions: a function that gives the contributions [candidates, runs], before weights.
        combination: a function that combines the weighted contributions into one score.
        uses_scores: true if contributions come from scores, false if only from ranks.
        missing: the default rule for documents that a run lacks; `missing_choices` are all rules that are allowed.
        weights_sum_to_one: true if weights are divided by their sum, and none may be negative.
    """

    summary: str
    contributions: Contributions
    combination: Combination
    uses_scores: bool
    missing: str
    missing_choices: tuple[str, ...]
    weights_sum_to_one: bool = False

    @property
    def is_weighted_sum(self) -> bool:
        """True if the fused score is linear in the weights, which is what can be tuned."""
        return self.combination is weighted_sum

    @property
    def is_sum(self) -> bool:
        """True if the fused score has a part of each run."""
        return self.combination in (weighted_sum, sum_by_count)

    def require_weights(self, weights: Sequence[float]) -> None:
        """Refuse weights that the method cannot take.

        Raises:
            TasbError: all are 0, so that every document would get the same score; or a negative one, where they are
                shares.
        """
        if self.weights_sum_to_one and min(weights) < 0:
            raise _mismatch(
                "weights from 0 on, one of them above 0",
                _numbers(weights),
                "change the weights, or use the method `linear`",
            )
        if not any(weights):
            raise _mismatch(
                "a weight other than 0",
                f"{_numbers(weights)}, with which every document gets the score 0",
                "give at least one run another weight",
            )

    def shares(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """The weights as they are multiplied, shape (runs,)."""
        given = np.asarray(weights, dtype=np.float64)
        return given / given.sum() if self.weights_sum_to_one else given

    def fused(self, candidates: Candidates) -> Column:
        """The fused score of each candidate, shape (candidates,)."""
        present = candidates.present
        weights = self.shares(candidates.fusion.weights_for(present.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused afterwards
            return self.combination(self.contributions(candidates) * weights, present)

    def parts(self, candidates: Candidates) -> Matrix:
        """[candidates, runs] what each run adds to the fused score, which is their sum but for rounding.

        Raises:
            TasbError: the method is no sum.
        """
        present = candidates.present
        parts = self.contributions(candidates) * self.shares(candidates.fusion.weights_for(present.shape[1]))
        self.require_sum(candidates.fusion.method)
        return np.asarray(parts * present.sum(axis=1)[:, None] if self.combination is sum_by_count else parts)

    def require_sum(self, name: str) -> None:
        """Refuse a method that takes one of the runs' scores, so that a run has no part of it.

        Args:
            name: the method's.

        Raises:
            TasbError: it is no sum.
        """
        if not self.is_sum:
            sums = ", ".join(each for each in METHODS if METHODS[each].is_sum)
            raise _mismatch(
                f"a method that adds the runs' contributions: {sums}",
                f"`{name}`, which does not",
                "give the output of `tasb fuse` as one more run, without its parts",
            )


def weighted_sum(contributions: Matrix, _present: NDArray[np.bool_]) -> Column:
    """Sum over runs, in their order: the same float64 on every machine."""
    total = contributions[:, 0].copy()
    for run in range(1, contributions.shape[1]):
        total += contributions[:, run]
    return total


def sum_by_count(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """The sum, times how many runs have the document."""
    return np.asarray(weighted_sum(contributions, present) * present.sum(axis=1))


def normalised_scores(candidates: Candidates) -> Matrix:
    """The normalised scores themselves."""
    return candidates.scores()


def _method(name: str, entry: Method | Contributions) -> Method:
    """A method from outside may be only what each run contributes: it is weighted and summed."""
    if isinstance(entry, Method):
        return entry

    def checked(candidates: Candidates) -> Matrix:
        found = np.asarray(entry(candidates))
        wanted = candidates.present.shape
        if found.shape != wanted or not np.isfinite(found).all():
            raise _mismatch(
                f"finite numbers of shape {wanted}, [candidates, runs], from the fusion method `{name}`",
                f"shape {found.shape}" if found.shape != wanted else "a number that is not finite",
                "fix the method (ranks are infinite where a run lacks a document: docs/extend.md)",
            )
        return found

    return Method(summary_of(entry), checked, weighted_sum, True, "minimum", SCORE_MISSING)


METHODS: Registry[Method] = Registry(
    "fusion method", "fusion-methods", prepared=_method, takes=("Candidates",), instances=(Method,)
)


def _points(candidates: Candidates) -> Matrix:
    """The first of c candidates gets c points, the next c - 1; those that a run lacks share what is left."""
    counts = candidates.counts()[:, None]
    left = (counts - candidates.lengths() + 1) / 2  # the mean of 1 to c - n
    return np.asarray(np.where(candidates.present, counts + 1 - candidates.ranks(), left))


METHODS.add(
    "borda",
    Method("Borda count (Aslam and Montague 2001).", _points, weighted_sum, False, RANK_MISSING[0], RANK_MISSING),
)


# CombSUM, CombMNZ, CombMAX and CombMIN (Fox and Shaw 1994).


def _highest(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """The highest among the runs that have the document."""
    return np.asarray(np.where(present, contributions, -np.inf).max(axis=1))


def _lowest(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """The lowest among the runs that have the document."""
    return np.asarray(np.where(present, contributions, np.inf).min(axis=1))


_COMB = {
    "combsum": ("The sum of the runs' scores", weighted_sum, "zero", SCORE_MISSING),
    "combmnz": (
        "The sum of the runs' scores, times the number of runs that have the document",
        sum_by_count,
        "zero",
        SCORE_MISSING,
    ),
    "combmax": ("The highest of the runs' scores", _highest, NOTHING, RANK_MISSING),
    "combmin": ("The lowest of the runs' scores", _lowest, NOTHING, RANK_MISSING),
}
for _name, (_summary, _combination, _missing, _choices) in _COMB.items():
    _about = f"{_summary} (Fox and Shaw 1994)."
    METHODS.add(_name, Method(_about, normalised_scores, _combination, True, _missing, _choices))


# Linear and convex combination of scores.
# The sum of weight times score. With weights 1 and alpha for a dense and a sparse run it is Pyserini's hybrid score,
# dense + alpha * sparse; bit for bit, with `minimum` and the normalisation `none` or `pyserini`.
LINEAR = Method(
    "The weighted sum of the runs' scores.", normalised_scores, weighted_sum, True, "minimum", SCORE_MISSING
)
METHODS.add("linear", LINEAR)
CONVEX = replace(LINEAR, summary="The weighted sum, with weights that sum to 1.", weights_sum_to_one=True)
METHODS.add("convex", CONVEX)


# Sums of reciprocal ranks: RRF and ISR. A run that lacks a document contributes nothing.


def _reciprocal_ranks(candidates: Candidates) -> Matrix:
    """1 / (k + rank) (Cormack et al. 2009)."""
    return np.asarray(1 / (candidates.fusion.rrf_k + candidates.ranks()))


def _inverse_square_ranks(candidates: Candidates) -> Matrix:
    """1 / rank squared (Mourão et al. 2014)."""
    return np.asarray(1 / candidates.ranks() ** 2)


RRF = Method(
    "1 / (k + rank), summed (Cormack et al. 2009).", _reciprocal_ranks, weighted_sum, False, NOTHING, RANK_MISSING
)
METHODS.add("rrf", RRF)
ISR = replace(
    RRF,
    summary="1 / rank squared, summed, times the number of runs that have the document (Mourão et al. 2014).",
    contributions=_inverse_square_ranks,
    combination=sum_by_count,
)
METHODS.add("isr", ISR)


@dataclass(frozen=True)
class Normalisation:
    """A way to make the scores of different models comparable, list by list.

    Every value becomes (value - shift) / scale, with one shift and one scale for each list. The score of a document
    that a list lacks is normalised in the same way. If all scores of a list are equal, each normalisation has its own
    rule.

    Attributes:
        shift_and_scale: a function that gives the shift and the scale of each list, both of shape (queries,).
        of_ranks: true if the value of a document is its place, counted from the end of the list, instead of its score.
        needs_minimum: true if the lowest possible score must be known.
    """

    shift_and_scale: ShiftAndScale
    of_ranks: bool = False
    needs_minimum: bool = False

    @property
    def summary(self) -> str:
        """One line, for `tasb list normalizations`."""
        return summary_of(self.shift_and_scale)

    def values(self, lists: ScoredLists) -> Column:
        """Normalised, shape (rows,)."""
        shift, scale = self.shift_and_scale(lists)
        places = np.repeat(lists.lengths, lists.lengths) - lists.ranks + 1
        values = places.astype(np.float64) if self.of_ranks else lists.scores
        return np.asarray((values - np.repeat(shift, lists.lengths)) / np.repeat(scale, lists.lengths))

    def lowest(self, lists: ScoredLists) -> Column:
        """The score of the last document of each list, shape (queries,)."""
        shift, scale = self.shift_and_scale(lists)
        return np.asarray(((1.0 if self.of_ranks else lists.lowest) - shift) / scale)

    def theoretical_minimum(self, lists: ScoredLists) -> Column:
        """The lowest possible score, normalised, shape (queries,)."""
        shift, scale = self.shift_and_scale(lists)
        lowest = 0.0 if self.of_ranks or lists.theoretical_minimum is None else lists.theoretical_minimum
        return np.asarray((lowest - shift) / scale)


def _normalisation(name: str, entry: Normalisation | ShiftAndScale) -> Normalisation:
    if isinstance(entry, Normalisation):
        return entry

    @functools.wraps(entry)
    def checked(lists: ScoredLists) -> tuple[Column, Column]:
        found = entry(lists)
        wanted = lists.lowest.shape
        fits = isinstance(found, tuple) and len(found) == 2 and all(np.shape(each) == wanted for each in found)
        if not fits or not np.isfinite(found).all() or (np.asarray(found[1])[lists.lengths > 0] == 0).any():
            raise _mismatch(
                f"a finite shift and a scale other than 0 for each list, both of shape {wanted}, from `{name}`",
                "a number that is not finite, or a scale of 0" if fits else f"{type(found).__name__} of something else",
                "fix it (docs/extend.md explains both)",
            )
        return found

    return Normalisation(checked)


NORMALISATIONS: Registry[Normalisation] = Registry(
    "normalisation", "normalizations", prepared=_normalisation, takes=("ScoredLists",), instances=(Normalisation,)
)


@NORMALISATIONS.register("none")
def _none(lists: ScoredLists) -> tuple[Column, Column]:
    """The scores, unchanged."""
    return np.zeros_like(lists.lowest), np.ones_like(lists.lowest)


@NORMALISATIONS.register("min-max")
def _min_max(lists: ScoredLists) -> tuple[Column, Column]:
    """Scores from 0 to 1. If all are equal, each is 1, as in pyserini.fusion (ranx has 0)."""
    equal = lists.highest == lists.lowest
    return np.where(equal, lists.lowest - 1, lists.lowest), np.where(equal, 1, lists.highest - lists.lowest)


@NORMALISATIONS.register("pyserini")
def _pyserini(lists: ScoredLists) -> tuple[Column, Column]:
    """Scores from -1/2 to 1/2, as `--normalization` of Pyserini's hybrid search. If all are equal, each is 0."""
    spread = lists.highest - lists.lowest
    return (lists.lowest + lists.highest) / 2, np.where(spread == 0, 1, spread)


@NORMALISATIONS.register("max")
def _max(lists: ScoredLists) -> tuple[Column, Column]:
    """Scores divided by the best score without its sign. The best becomes 1, or -1 if it is negative."""
    return np.zeros_like(lists.highest), np.where(lists.highest == 0, 1, np.abs(lists.highest))


@NORMALISATIONS.register("z-score")
def _z_score(lists: ScoredLists) -> tuple[Column, Column]:
    """Scores with mean 0 and standard deviation 1. If all are equal, each is 0."""
    counts = np.maximum(lists.lengths, 1)
    mean = lists.sums(lists.scores) / counts
    squares = lists.sums((lists.scores - np.repeat(mean, lists.lengths)) ** 2)
    equal = lists.highest == lists.lowest  # of which rounding may leave a deviation
    return np.where(equal, lists.lowest, mean), np.where(equal | (squares == 0), 1, np.sqrt(squares / counts))


def _theoretical_min(lists: ScoredLists) -> tuple[Column, Column]:
    """The lowest possible score becomes 0 and the best becomes 1 (Bruch et al. 2023, TM2C2).

    Where the best is the lowest possible score, all are 0.
    """
    minimum = np.full_like(lists.highest, lists.theoretical_minimum)
    spread = lists.highest - minimum
    return minimum, np.where((spread == 0) | (lists.lengths == 0), 1, spread)


def _rank(lists: ScoredLists) -> tuple[Column, Column]:
    """Ranks instead of scores: of n documents the best is 1, the next 1 - 1/n, the last 1/n."""
    return np.zeros_like(lists.lowest), np.maximum(lists.lengths, 1).astype(np.float64)


NORMALISATIONS.add("theoretical-min", Normalisation(_theoretical_min, needs_minimum=True))
NORMALISATIONS.add("rank", Normalisation(_rank, of_ranks=True))

# What a document gets from a run that lacks it: a function to scores of each list, shape (queries,).
MISSING: Registry[Missing] = Registry("rule for missing documents")


@MISSING.register("minimum")
def _minimum(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """The score of the list's last document, as in Pyserini's HybridSearcher."""
    return normalisation.lowest(lists)


@MISSING.register("zero")
def _zero(_normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """0, after normalisation."""
    return np.zeros_like(lists.lowest)


@MISSING.register("theoretical")
def _theoretical(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """The lowest score that the run's model can give."""
    return normalisation.theoretical_minimum(lists)


@MISSING.register(DROP)
def _drop(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """The document is left out."""
    return _zero(normalisation, lists)


@MISSING.register(NOTHING)
def _nothing(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """The document gets nothing from that run."""
    return _zero(normalisation, lists)
