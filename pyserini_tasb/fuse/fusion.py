"""How runs are to be fused: every choice, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.fuse.methods import METHODS
from pyserini_tasb.fuse.missing import MISSING
from pyserini_tasb.fuse.normalisations import NORMALISATIONS

if TYPE_CHECKING:
    from pyserini_tasb.fuse.methods import Method
    from pyserini_tasb.fuse.normalisations import Normalisation

DEPTH = 1000
RRF_K = 60.0


@dataclass(frozen=True)
class Fusion:
    """A method with all it needs.

    Attributes:
        method: of `METHODS`.
        weights: one for each run, multiplied with what the run contributes; None is 1 for each.
        normalisation: of `NORMALISATIONS`; of each run's list for a query.
        missing: of `MISSING`, what a document that a run lacks gets there; None is the method's own rule.
        theoretical_minimums: one for each run, the lowest score that its model can give; None where it is not known.
        rrf_k: of RRF.
        depth: documents taken of each list; None is all.
        output_depth: documents kept for each query; None is all.
    """

    method: str = "linear"
    weights: tuple[float, ...] | None = None
    normalisation: str = "none"
    missing: str | None = None
    theoretical_minimums: tuple[float | None, ...] | None = None
    rrf_k: float = RRF_K
    depth: int | None = DEPTH
    output_depth: int | None = DEPTH

    @property
    def chosen_method(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def chosen_normalisation(self) -> Normalisation:
        """The normalisation itself."""
        return NORMALISATIONS[self.normalisation]

    @property
    def chosen_missing(self) -> str:
        """The rule for documents that a run lacks."""
        return self.missing or self.chosen_method.missing

    def weights_of(self, runs: int) -> tuple[float, ...]:
        """One weight for each of so many runs."""
        return self.weights if self.weights is not None else (1.0,) * runs

    def minimum_of(self, run: int) -> float | None:
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
            raise _mismatch("two runs or more", f"{runs}", "give all runs to --runs")
        self._require_one_each(runs)
        method.require_weights(self.weights_of(runs))
        if self.missing is not None:
            _require_missing(self.missing, self.method, method)
        if not method.uses_scores and self.normalisation != "none":
            found = f"`{self.normalisation}` with `{self.method}`, which looks at ranks only"
            raise _mismatch("no normalisation", found, "leave --normalisation out")
        if normalisation.needs_minimum or self.chosen_missing == "theoretical":
            self._require_minimums(runs)
        if not (math.isfinite(self.rrf_k) and self.rrf_k >= 0):
            raise _mismatch("k of RRF from 0 on", f"{self.rrf_k}", "60 is usual")
        for depth in (self.depth, self.output_depth):
            if depth is not None and depth < 1:
                raise _mismatch("a depth of 1 or more", f"{depth}", "1000 is usual")

    def _require_one_each(self, runs: int) -> None:
        for what, values in (("weight", self.weights), ("theoretical minimum", self.theoretical_minimums)):
            if values is not None and len(values) != runs:
                raise _mismatch(f"one {what} for each of the {runs} runs", f"{len(values)}", "give one a run, in order")
        if not all(map(math.isfinite, self.weights_of(runs))):
            raise _mismatch("finite weights", str(self.weights), "give numbers such as 1 0.1")

    def _require_minimums(self, runs: int) -> None:
        without = [str(run + 1) for run in range(runs) if self.minimum_of(run) is None]
        if without:
            raise _mismatch(
                "the lowest score that each run's model can give",
                f"none for run {', '.join(without)}",
                "--minimums: 0 for BM25, -1 for a cosine, one for each run",
            )


def _require_missing(missing: str, name: str, method: Method) -> None:
    MISSING[missing]  # or it says what there is
    if missing not in method.missing_choices:
        raise _mismatch(
            f"for `{name}`: {', '.join(method.missing_choices)}",
            f"`{missing}` for documents that a run lacks",
            "leave --missing out, or choose one of these",
        )


def _mismatch(expected: str, found: str, do: str) -> TasbError:
    return TasbError(expected=expected, found=found, do=do)
