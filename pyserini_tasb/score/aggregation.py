"""From comparisons of every two passages to one score of each.

p(i, j) is the probability that passage i is more relevant than passage j, when i was read first. `sum`, `binary`, `min`
and `max` are of duoBERT (Nogueira et al. 2019, arXiv:1910.14424), the others of duoT5 (Pradeep et al. 2021,
arXiv:2101.05667).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Comparisons = NDArray[np.float64]
"""[passages, others] the log-odds of p(i, j), of each passage with each of the others in their order."""


def aggregate(method: str, log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores [passages] in fp32.

    Args:
        method: a key of `AGGREGATIONS`.
        log_odds: [passages, passages] of p(i, j); the diagonal is not looked at.
    """
    passages = len(log_odds)
    if passages < 2:
        return np.zeros(passages, dtype=np.float32)  # compared with nothing
    others = ~np.eye(passages, dtype=bool)
    first, second = (table[others].reshape(passages, -1) for table in (log_odds, log_odds.T))
    scores = AGGREGATIONS[method](first.astype(np.float64), second.astype(np.float64))
    return scores.astype(np.float32)


def _log_probability(log_odds: Comparisons) -> Comparisons:
    log_probability: Comparisons = -np.logaddexp(0, -log_odds)
    return log_probability


def _probability(log_odds: Comparisons) -> Comparisons:
    probability: Comparisons = np.exp(_log_probability(log_odds))
    return probability


AGGREGATIONS: dict[str, Callable[[Comparisons, Comparisons], Comparisons]] = {
    "sym-sum": lambda first, second: (_probability(first) + _probability(-second)).sum(axis=1),
    "sym-sum-log": lambda first, second: (_log_probability(first) + _log_probability(-second)).sum(axis=1),
    "sum": lambda first, _: _probability(first).sum(axis=1),
    "sum-log": lambda first, _: _log_probability(first).sum(axis=1),
    "binary": lambda first, _: (first > 0).sum(axis=1),
    "min": lambda first, _: _probability(first).min(axis=1),
    "max": lambda first, _: _probability(first).max(axis=1),
}
"""Scores [passages] from the log-odds of p(i, j), and of p(j, i), of passage i with each other j."""
