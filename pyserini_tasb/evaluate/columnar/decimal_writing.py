"""Float64 as text, a column at once: the shortest decimal that reads back as the same number, as Python's repr()."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.decimal_reading import POWERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.uint64]

WIDTH = 24  # of the longest repr()
# From 2**-11 on a float64 has no bit below 2**-63, so that its fraction times 2**63 is an integer.
SMALLEST, LARGEST = 2.0**-11, 2.0**20
_HALF = np.uint64(1 << 62)
# How far from a limit floating point may err when it decides; nearer, repr() does.
_MARGIN = 1e-9
# 17 digits, which are always enough, have so many decimals; of numbers below 0.01, a hundred times the number has.
_MAGNITUDES = np.array([0.001, 0.01, 0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6])
_DECIMALS = np.array([18, 17, 18, 17, 16, 15, 14, 13, 12, 11, 10])
_FOUR_DIGITS = np.array([f"{number:04}".encode() for number in range(10_000)], dtype="S4")
_FROM_RIGHT = np.arange(WIDTH - 1, -1, -1)
_PLACES = np.arange(WIDTH)[:, None]


def _words(characters: NDArray[np.uint8]) -> Integers:
    """Rows of 24 characters as three words each."""
    return np.ascontiguousarray(characters).view("<u8")


# By the number of decimals: which characters are decimals, which stand before the dot, and the dot.
_DECIMAL = _words(np.where(_FROM_RIGHT < _PLACES, 0xFF, 0).astype(np.uint8))
_WHOLE = _words(np.where(_FROM_RIGHT > _PLACES, 0xFF, 0).astype(np.uint8))
_DOT = _words(np.where(_FROM_RIGHT == _PLACES, ord("."), 0).astype(np.uint8))
# By the length of the text: which characters there are.
_TEXT = _words(np.where(np.arange(WIDTH + 1)[:, None] > _FROM_RIGHT, 0xFF, 0).astype(np.uint8))


def decimal_texts(numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The texts, shape (numbers, 24), to the right; zeros before them.

    Args:
        numbers: finite, shape (numbers,).
    """
    sizes = np.abs(numbers)
    # Below a power of two float64 lie closer than above it.
    direct = (sizes >= SMALLEST) & (sizes < LARGEST) & (np.frexp(sizes)[0] != 0.5)
    digits, decimals, certain = _shortest(np.where(direct, sizes, 1.5))
    texts = _texts(digits, decimals, numbers < 0)
    for row in np.flatnonzero(~(direct & certain)).tolist():
        text = repr(float(numbers[row])).encode()
        texts[row] = 0
        texts[row, WIDTH - len(text) :] = np.frombuffer(text, dtype=np.uint8)
    return texts


def _shortest(sizes: NDArray[np.float64]) -> tuple[Integers, NDArray[np.int64], NDArray[np.bool_]]:
    """Digits without a dot, how many of them are decimals, and whether that is certain to be the shortest."""
    whole = np.floor(sizes)
    fraction = ((sizes - whole) * 2.0**63).astype(np.uint64)  # exact
    is_small = sizes < 0.01
    fraction = np.where(is_small, fraction * np.uint64(100), fraction)
    decimals = _DECIMALS[np.searchsorted(_MAGNITUDES, sizes, side="right")]
    leading, fraction = _times(fraction, np.full(len(sizes), 10**9, dtype=np.uint64))
    following, rest = _times(fraction, POWERS[decimals - 9])
    digits = (whole.astype(np.uint64) * POWERS[9] + leading) * POWERS[decimals - 9] + following
    half_gap = np.spacing(sizes) / 2 * np.where(is_small, 100.0, 1.0) * 10.0**decimals
    best, dropped = _rounded(digits, rest, 0)[0], np.zeros(len(sizes), dtype=np.int64)
    certain = np.ones(len(sizes), dtype=np.bool_)
    for count in (1, 2):  # with 15 digits every float64 that has so few is found: what it has less are zeros
        shorter, distance = _rounded(digits, rest, count)
        fits = distance < half_gap
        certain &= np.abs(distance - half_gap) > _MARGIN
        best, dropped = np.where(fits, shorter, best), np.where(fits, count, dropped)
    decimals = decimals - dropped + np.where(is_small, 2, 0)
    return *_without_zeros(best, decimals), certain


def _times(fraction: Integers, factor: Integers) -> tuple[Integers, Integers]:
    """Whole and fractional part of fraction times factor, the fractions in units of 2**-63; factor below 2**30."""
    low_half = np.uint64(0xFFFFFFFF)
    low = (fraction & low_half) * factor
    high = (fraction >> np.uint64(32)) * factor + (low >> np.uint64(32))
    rest = ((high & np.uint64(0x7FFFFFFF)) << np.uint64(32)) | (low & low_half)
    return high >> np.uint64(31), rest


def _rounded(digits: Integers, rest: Integers, dropped: int) -> tuple[Integers, NDArray[np.float64]]:
    """Without the last digits, half to even; and how far that is away, in units of the last digit given."""
    unit = POWERS[dropped]
    kept = digits // unit
    behind = digits - kept * unit
    if dropped:
        half = np.uint64(5) * POWERS[dropped - 1]
        above, at = (behind > half) | ((behind == half) & (rest > 0)), (behind == half) & (rest == 0)
    else:
        above, at = rest > _HALF, rest == _HALF
    up = above | (at & ((kept & np.uint64(1)) == 1))
    away = behind.astype(np.float64) + rest.astype(np.float64) / 2.0**63
    return kept + up, np.where(up, float(unit) - away, away)


def _without_zeros(digits: Integers, decimals: NDArray[np.int64]) -> tuple[Integers, NDArray[np.int64]]:
    """Without zeros at the end, except for the one behind the dot."""
    for count in (8, 4, 2, 1):
        shorter = digits // POWERS[count]
        strip = (shorter * POWERS[count] == digits) & (decimals > count)
        digits, decimals = np.where(strip, shorter, digits), np.where(strip, decimals - count, decimals)
    return digits, decimals


def _texts(digits: Integers, decimals: NDArray[np.int64], negative: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Digits with a dot and, where there is one, a sign."""
    characters = np.empty((len(digits), WIDTH), dtype=np.uint8)
    quotient = digits
    for end in range(WIDTH, 0, -4):
        rest, quotient = quotient, quotient // POWERS[4]
        four = (rest - quotient * POWERS[4]).astype(np.int64)
        characters[:, end - 4 : end] = _FOUR_DIGITS[four].view(np.uint8).reshape(-1, 4)
    words = _words(characters)
    # What stands before the dot is one further to the left.
    moved = words >> np.uint64(8)
    moved[:, :-1] |= words[:, 1:] << np.uint64(56)
    length = np.maximum(np.searchsorted(POWERS, digits, side="right"), decimals + 1) + 1
    joined = (words & _DECIMAL[decimals]) | (moved & _WHOLE[decimals]) | _DOT[decimals]
    texts: NDArray[np.uint8] = (joined & _TEXT[length]).astype("<u8").view(np.uint8)
    signed = np.flatnonzero(negative)
    texts[signed, WIDTH - 1 - length[signed]] = ord("-")
    return texts
