"""Sums of reciprocal ranks: RRF and ISR. A run that lacks a document contributes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.fuse.methods.method import METHODS, RANK_MISSING, Method, sum_by_count, weighted_sum

if TYPE_CHECKING:
    from pyserini_tasb.fuse.evidence import Evidence
    from pyserini_tasb.fuse.methods.method import Matrix


def _reciprocal_ranks(evidence: Evidence) -> Matrix:
    """1 / (k + rank) (Cormack et al. 2009)."""
    return np.asarray(1 / (evidence.fusion.rrf_k + evidence.ranks()))


def _inverse_square_ranks(evidence: Evidence) -> Matrix:
    """1 / rank squared (Mourão et al. 2014)."""
    return np.asarray(1 / evidence.ranks() ** 2)


METHODS.add("rrf", Method(_reciprocal_ranks, weighted_sum, False, RANK_MISSING[0], RANK_MISSING))
METHODS.add("isr", Method(_inverse_square_ranks, sum_by_count, False, RANK_MISSING[0], RANK_MISSING))
