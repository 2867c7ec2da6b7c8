"""How alike two rankings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """The share of two tops of one length that is in both, whatever the order."""
    return len({*one} & {*other}) / len(one)


def rank_biased_overlap(one: Sequence[int], other: Sequence[int], persistence: float = 0.9) -> float:
    """RBO of two rankings of one length, extrapolated (Webber, Moffat and Zobel, TOIS 2010, Eq. 32): 1 if they are one.

    Args:
        one: a ranking, best first, no item twice.
        other: a ranking.
        persistence: p; at 0.9 the first ten ranks have 86 % of the weight.
    """
    seen_in_one: set[int] = set()
    seen_in_other: set[int] = set()
    common, agreement, total, weight = 0, 0.0, 0.0, 1.0
    for depth, (item, counterpart) in enumerate(zip(one, other, strict=True), 1):
        seen_in_one.add(item)
        seen_in_other.add(counterpart)
        common += (item in seen_in_other) + (counterpart in seen_in_one) - (item == counterpart)
        agreement = common / depth
        weight *= persistence
        total += agreement * weight
    return agreement * weight + (1 - persistence) / persistence * total
