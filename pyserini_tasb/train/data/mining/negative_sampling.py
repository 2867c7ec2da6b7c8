"""Which of a query's candidates become its negatives: one function for each way, by its name."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

STRATA = 10

Sampling: TypeAlias = Callable[[NDArray[np.float32], int, np.random.Generator], NDArray[np.intp]]
"""(scores of the candidates in ranking order, how many to draw, randomness) → positions drawn, in ranking order."""


def query_randomness(seed: int, qid: str) -> np.random.Generator:
    """Randomness that depends on the seed and the query alone, not on the queries before it."""
    key = int.from_bytes(blake2b(f"{seed} {qid}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def top(scores: NDArray[np.float32], count: int, _: np.random.Generator) -> NDArray[np.intp]:
    """The first candidates of the ranking."""
    return np.arange(min(count, len(scores)))


def uniform(scores: NDArray[np.float32], count: int, randomness: np.random.Generator) -> NDArray[np.intp]:
    """Candidates drawn uniformly, without replacement."""
    return np.sort(randomness.choice(len(scores), min(count, len(scores)), replace=False))


def stratified(scores: NDArray[np.float32], count: int, randomness: np.random.Generator) -> NDArray[np.intp]:
    """As many candidates from each of ten equal-width strata between the best and the worst score, as far as they go.

    Strata give one candidate each in turn, drawn uniformly, the best stratum first; empty ones are passed over. So the
    teacher's whole range of scores is covered, of which the dense lower end would otherwise be nearly all
    (arXiv:2604.04734 finds that better for distillation than the top or a uniform draw).
    """
    if not len(scores):
        return np.empty(0, dtype=np.intp)
    best, worst = float(scores.max()), float(scores.min())
    # The best score itself belongs to the best stratum; all scores equal are one stratum.
    depth = (best - scores.astype(np.float64)) / (best - worst) if best > worst else np.zeros(len(scores))
    stratum = np.minimum((depth * STRATA).astype(np.intp), STRATA - 1)
    shuffled = randomness.permutation(len(scores))
    by_stratum = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    strata = stratum[by_stratum]
    turn = np.arange(len(scores)) - np.searchsorted(strata, strata)
    drawn: NDArray[np.intp] = np.sort(by_stratum[np.lexsort((strata, turn))[:count]])
    return drawn


SAMPLING: dict[str, Sampling] = {"top": top, "random": uniform, "stratified": stratified}
