"""Linear and convex combination of scores."""

from __future__ import annotations

from pyserini_tasb.fuse.methods.method import METHODS, SCORE_MISSING, Method, normalised_scores, weighted_sum

# The sum of weight times score. With weights 1 and alpha for a dense and a sparse run it is Pyserini's hybrid score,
# dense + alpha * sparse; bit for bit, with `minimum` and the normalisation `none` or `pyserini`.
METHODS.add("linear", Method(normalised_scores, weighted_sum, True, "minimum", SCORE_MISSING))
# The same with weights that sum to 1.
METHODS.add("convex", Method(normalised_scores, weighted_sum, True, "minimum", SCORE_MISSING, weights_sum_to_one=True))
