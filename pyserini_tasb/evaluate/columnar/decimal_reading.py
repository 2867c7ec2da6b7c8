"""Decimal numbers of a column of text as float64, each the one that Python's float() gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.evaluate.columnar.packed_text import CHARACTERS, KEEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.columnar.packed_text import PackedText, Positions, Words


def _each(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


MOST_DIGITS = 19  # of a number: together they fit into 64 bits
EXACT = np.uint64(1 << 53)  # up to here every integer is a float64
POWERS = np.array([10**power for power in range(MOST_DIGITS + 1)], dtype=np.uint64)
_HAS_EXTENDED = np.finfo(np.longdouble).nmant == 63 and np.little_endian
_DOTS, _ZEROS, _ONES, _HIGH_BITS, _HIGH_NIBBLES = _each(0x2E), _each(0x30), _each(0x01), _each(0x80), _each(0xF0)


def read_decimals(
    text: PackedText, starts: Positions, ends: Positions
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers such as `-12.5` or `7`, and which of them were read; what has an exponent, say, is left to float().

    Args:
        text: what they stand in.
        starts: position of each number's first character.
        ends: position behind its last.
    """
    negative = text.characters[starts] == ord("-")
    first = starts + negative
    lengths = ends - first
    word = text.words(first)
    dots = _first_dot(word)
    whole = np.minimum(dots, lengths)
    decimals = np.maximum(lengths - whole - 1, 0)
    read = (whole > 0) & ((dots < CHARACTERS) | (lengths <= CHARACTERS))
    read &= whole + decimals <= MOST_DIGITS
    decimals = np.where(read, decimals, 0)
    digits, are_digits = _digits(word, whole)
    read &= are_digits
    digits = digits * POWERS[decimals]
    for skipped in range(0, int(decimals.max(initial=0)), CHARACTERS):
        count = np.clip(decimals - skipped, 0, CHARACTERS)
        part, are_digits = _digits(text.words(first + whole + 1 + skipped), count)
        read &= are_digits
        digits += part * POWERS[np.maximum(decimals - skipped - count, 0)]
    numbers = digits.astype(np.float64)
    # Both exact, so their quotient is rounded once (Clinger 1990): it is the float64 nearest to the text.
    numbers /= POWERS[decimals].astype(np.float64)
    long = np.flatnonzero(read & (digits > EXACT))
    if len(long):
        numbers[long], read[long] = _quotients(digits[long], decimals[long])
    return np.where(negative, -numbers, numbers), read


def _first_dot(word: Words) -> NDArray[np.int64]:
    """Characters before the first dot; 8 where there is none."""
    others = word ^ _DOTS
    marks = (others - _ONES) & ~others & _HIGH_BITS  # right up to its lowest mark
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)
    return (np.bitwise_count(below) >> 3).astype(np.int64)


def _digits(word: Words, count: Positions) -> tuple[Words, NDArray[np.bool_]]:
    """The number that the first `count` characters are, and whether all of them are digits."""
    missing = np.clip(CHARACTERS - count, 0, CHARACTERS)
    shift = (np.minimum(missing, CHARACTERS - 1) << 3).astype(np.uint64)
    filled = ((word & KEEP[CHARACTERS - missing]) << shift) | (_ZEROS & KEEP[missing])
    carried = (filled + _each(0x06)) & _HIGH_NIBBLES  # of : to ? it leaves '0' to '9'
    are_digits = ((filled & _HIGH_NIBBLES) == _ZEROS) & (carried == _ZEROS)
    pairs = filled - _ZEROS
    pairs = pairs * np.uint64(10) + (pairs >> np.uint64(8))
    mask = np.uint64(0x000000FF000000FF)
    upper = (pairs & mask) * np.uint64(100 + (1_000_000 << 32))
    lower = ((pairs >> np.uint64(16)) & mask) * np.uint64(1 + (10_000 << 32))
    return (upper + lower) >> np.uint64(32), are_digits


def _quotients(digits: Words, decimals: Positions) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`digits` over a power of ten, where a float64 cannot hold `digits`."""
    if not _HAS_EXTENDED:
        return digits.astype(np.float64), np.zeros(len(digits), dtype=np.bool_)
    exact: Any = digits.astype(np.longdouble) / POWERS[decimals].astype(np.longdouble)
    # 64 bits, which rounded again to 53 are right unless they lie half way between two float64.
    significand = exact.view(np.uint8).reshape(len(digits), -1)[:, :8].copy().view("<u8").ravel()
    return exact.astype(np.float64), (significand & np.uint64(0x7FF)) != np.uint64(0x400)
