"""What a document gets from a run that lacks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.fuse.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pyserini_tasb.fuse.normalisations import Normalisation
    from pyserini_tasb.fuse.scored_lists import ScoredLists

    Missing = Callable[[Normalisation, ScoredLists], NDArray[np.float64]]

NOTHING = "nothing"
DROP = "drop"
MISSING: Registry[Missing] = Registry("rule for missing documents")


def missing_rule(name: str) -> Callable[[Missing], Missing]:
    """Register a function that gives the normalised score for each list, shape (queries,)."""

    def register(function: Missing) -> Missing:
        MISSING.add(name, function)
        return function

    return register


@missing_rule("minimum")
def _minimum(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """What the list's last document has, as in Pyserini's HybridSearcher."""
    return normalisation.lowest(lists)


@missing_rule("zero")
def _zero(_normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """0, after normalisation."""
    return np.zeros_like(lists.lowest)


@missing_rule("theoretical")
def _theoretical(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """What the lowest score has that the run's model can give."""
    return normalisation.theoretical_minimum(lists)


# A document that any run lacks is no candidate, so that what it would get does not matter.
missing_rule(DROP)(_zero)
# The method counts only the runs that have the document.
missing_rule(NOTHING)(_zero)
