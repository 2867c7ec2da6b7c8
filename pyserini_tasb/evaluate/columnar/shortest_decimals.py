"""The fewest digits that read back as the same float64, for a column at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.decimal_reading import POWERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.uint64]
    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_EXPONENTS = np.arange(-11, 19)
SMALLEST, LARGEST = 2.0 ** _EXPONENTS[0], 2.0 ** (_EXPONENTS[-1] + 1)
# By the exponent of 2: numbers of so many decimals lie no further apart than float64 do, so that one of them is always
# near enough. Without the dot they are from 2**52 to 2**57, where float64 are integers; two decimals less leave at most
# 15 digits, of which there is but one choice.
_DECIMALS = np.array([next(count for count in range(20) if 10**count >= 2 ** int(52 - e)) for e in _EXPONENTS])
_SCALES = POWERS[_DECIMALS].astype(np.float64)  # exact
_HALF_GAPS = np.ldexp(_SCALES, _EXPONENTS - 53)
# How far from a limit floating point may err when it decides.
_MARGIN = 1e-9
_FRACTION_BITS, _FRACTION = np.uint64(52), np.uint64((1 << 52) - 1)
_BIAS = np.uint64(1023 + int(_EXPONENTS[0]))
_SPLITTER = 2.0**27 + 1


def shortest_decimals(sizes: Floats) -> tuple[Integers, Counts, Counts, Mask]:
    """The fewest digits, and of those the nearest number; as repr() has them.

    Args:
        sizes: from `SMALLEST` on and below `LARGEST`, shape (numbers,).

    Returns:
        Digits without the dot; how many of them are decimals; how many zeros they end with, though never all decimals;
        and whether that is certain.
    """
    bits = sizes.view(np.uint64)
    exponents = ((bits >> _FRACTION_BITS) - _BIAS).view(np.int64)
    decimals, half_gaps = _DECIMALS.take(exponents), _HALF_GAPS.take(exponents)
    product, error = _exact_product(sizes, _SCALES.take(exponents))
    nearest = np.rint(error)
    digits, rest = (product.astype(np.int64) + nearest.astype(np.int64)).view(np.uint64), error - nearest
    # Below a power of two float64 lie closer than above it.
    certain = ((bits & _FRACTION) != 0) & (np.abs(rest) < 0.5 - _MARGIN)

    shorter, fits, known = _without_last(1, digits, rest, half_gaps)
    certain &= known
    rows = np.flatnonzero(fits)
    shortest, fit, known = _without_last(2, digits[rows], rest[rows], half_gaps[rows])
    certain[rows] &= known
    digits[rows], zeros = shorter[rows], fits.astype(np.int64)
    rows, shortest = rows[fit], shortest[fit]
    digits[rows], zeros[rows] = shortest, _zeros_at_end(shortest, decimals[rows])
    return digits, decimals, zeros, certain


def _exact_product(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """What float64 makes of it, and what is to be added (Dekker 1971)."""
    product = one * other
    (high, low), (other_high, other_low) = _halves(one), _halves(other)
    return product, ((high * other_high - product) + high * other_low + low * other_high) + low * other_low


def _halves(numbers: Floats) -> tuple[Floats, Floats]:
    """Two numbers of half the bits each that add up to the number."""
    large = numbers * _SPLITTER
    high = large - (large - numbers)
    return high, numbers - high


def _without_last(count: int, digits: Integers, rest: Floats, half_gaps: Floats) -> tuple[Integers, Mask, Mask]:
    """Digits rounded to zeros at the end, whether they still read back as the same number, and if that is certain."""
    unit = POWERS[count]
    kept = digits // unit * unit
    behind = (digits - kept).astype(np.float64) + rest
    up = behind > float(unit) / 2
    distance = np.abs(behind - up * float(unit))
    return kept + up * unit, distance < half_gaps, np.abs(distance - half_gaps) > _MARGIN


def _zeros_at_end(digits: Integers, decimals: Counts) -> Counts:
    """How many, of two or more, without the first decimal."""
    zeros = np.full(len(digits), 2)
    digits = digits // POWERS[2]
    for count in (8, 4, 2, 1):
        shorter = digits // POWERS[count]
        strip = (shorter * POWERS[count] == digits) & (decimals - zeros > count)
        digits, zeros = np.where(strip, shorter, digits), zeros + count * strip
    return zeros
