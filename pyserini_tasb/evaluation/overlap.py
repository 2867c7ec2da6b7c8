"""How alike two rankings are, without judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


def overlap(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """The share of two tops of one length that is in both, whatever the order."""
    return len({*one} & {*other}) / len(one)


def rank_biased_overlap(one: Sequence[Hashable], other: Sequence[Hashable], persistence: float = 0.9) -> float:
    """RBO of two rankings, extrapolated (Webber, Moffat and Zobel, TOIS 2010, Eq. 32).

    It is 1 if the rankings are the same, and 0 if they have nothing in common. Two empty rankings are the same.

    Args:
        one: a ranking, best first, no item twice.
        other: a ranking; it may be shorter or longer.
        persistence: p; at 0.9 the first ten ranks have 86 % of the weight.
    """
    short, long = sorted((one, other), key=len)
    if not short:
        return float(not long)
    seen_in_short: set[Hashable] = set()
    seen_in_long: set[Hashable] = set()
    common, total, weight = 0, 0.0, 1.0
    common_of_short = 0  # at the depth at which the shorter ranking ends
    for depth, item in enumerate(long, 1):
        weight *= persistence
        seen_in_long.add(item)
        if depth <= len(short):
            counterpart = short[depth - 1]
            seen_in_short.add(counterpart)
            common += (item in seen_in_short) + (counterpart in seen_in_long) - (item == counterpart)
            common_of_short = common
            total += common / depth * weight
        else:  # below its end, the shorter ranking is taken to agree as much as it did there
            common += item in seen_in_short
            expected = common_of_short * (depth - len(short)) / len(short)
            total += (common + expected) / depth * weight
    beyond = (common - common_of_short) / len(long) + common_of_short / len(short)
    return beyond * weight + (1 - persistence) / persistence * total
