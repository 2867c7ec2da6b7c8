"""Which passages of a batch are known to be relevant to which of its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.sampling.ragged import list_numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def known_mask(known: Sequence[NDArray[np.uint32]], passages: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """True at [i, j] if passage j is known to be relevant to query i.

    Args:
        known: for each query, its relevant passages, each once.
        passages: [passages] in any order; one may be there several times.
    """
    counts = np.array([len(relevant) for relevant in known], np.int64)
    relevant, queries = np.concatenate([np.empty(0, np.uint32), *known]), list_numbers(counts)
    # Known passages are looked up among the batch's: there are few of them, while the mask has b · passages cells.
    order = np.argsort(passages, kind="stable")
    ordered = passages[order]
    first = np.searchsorted(ordered, relevant, side="left")
    found = np.searchsorted(ordered, relevant, side="right") - first
    mask = np.zeros((len(known), len(passages)), bool)
    mask[np.repeat(queries, found), order[ranges(first, found)]] = True
    return mask
