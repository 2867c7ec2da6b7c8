"""How queries are drawn from a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Top-k sampling, as docTTTTTquery's authors did it by default.

    Args:
        samples: queries of each passage.
        top_k: most likely tokens, among which the next one is drawn.
        seed: the same seed draws the same queries, on the same machine.
    """

    samples: int = 40
    top_k: int = 10
    seed: int = 0
