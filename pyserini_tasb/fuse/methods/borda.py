"""Borda count (Aslam and Montague 2001)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.fuse.methods.method import METHODS, RANK_MISSING, Method, weighted_sum

if TYPE_CHECKING:
    from pyserini_tasb.fuse.evidence import Evidence
    from pyserini_tasb.fuse.methods.method import Matrix


def _points(evidence: Evidence) -> Matrix:
    """Of c candidates a run's first gets c points, the next c - 1; those it lacks share the points that are left."""
    candidates = evidence.candidates()[:, None]
    left = (candidates - evidence.lengths() + 1) / 2  # the mean of 1 to c - n
    return np.asarray(np.where(evidence.present, candidates + 1 - evidence.ranks(), left))


METHODS.add("borda", Method(_points, weighted_sum, False, RANK_MISSING[0], RANK_MISSING))
