"""Decimal numbers of a column of text as float64, each the one that Python's float() gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.evaluate.columnar.packed_text import CHARACTERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.columnar.packed_text import PackedText, Positions, Words


def _each(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


MOST_DIGITS = 19  # of a number: together they fit into 64 bits
EXACT = np.uint64(1 << 53)  # up to here every integer is a float64
POWERS = np.array([10**power for power in range(MOST_DIGITS + 1)], dtype=np.uint64)
_FLOAT_POWERS = POWERS.astype(np.float64)
_HAS_EXTENDED = np.finfo(np.longdouble).nmant == 63 and np.little_endian
_DOTS, _ZEROS, _ONES, _HIGH_BITS, _ABOVE_NINE = _each(0x2E), _each(0x30), _each(0x01), _each(0x80), _each(0x76)
_PAIRS = np.uint64(0x000000FF000000FF)


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
    read = (whole > 0) & ((dots < CHARACTERS) | (lengths <= CHARACTERS)) & (whole + decimals <= MOST_DIGITS)
    decimals *= read
    digits, other = _digits(word, whole)
    at, left = first + whole + 1, decimals
    while left.any():
        count = np.minimum(left, CHARACTERS)
        part, others = _digits(text.words(at), count)
        digits = digits * POWERS.take(count) + part
        other |= others
        at, left = at + count, left - count
    read &= other == 0
    # Both exact, so their quotient is rounded once (Clinger 1990): it is the float64 nearest to the text.
    numbers = digits.astype(np.float64) / _FLOAT_POWERS.take(decimals)
    long = np.flatnonzero(read & (digits > EXACT))
    if len(long):
        numbers[long], read[long] = _quotients(digits[long], decimals[long])
    return np.negative(numbers, out=numbers, where=negative), read


def _first_dot(word: Words) -> Positions:
    """Characters before the first dot; 8 where there is none."""
    others = word ^ _DOTS
    marks = (others - _ONES) & ~others & _HIGH_BITS  # right up to its lowest mark
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)
    return (np.bitwise_count(below) >> 3).astype(np.int64)


def _digits(word: Words, count: Positions) -> tuple[Words, Words]:
    """The number that the first `count` characters are, and what is 0 if all of them are digits."""
    bits = (count << 3).view(np.uint64)
    filled = (word << (np.uint64(64) - bits)) | (_ZEROS >> bits)  # shifted by 64, which is 0, where there are none
    digits = filled ^ _ZEROS
    others = (digits | (digits + _ABOVE_NINE)) & _HIGH_BITS
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    upper = (pairs & _PAIRS) * np.uint64(100 + (1_000_000 << 32))
    lower = ((pairs >> np.uint64(16)) & _PAIRS) * np.uint64(1 + (10_000 << 32))
    return (upper + lower) >> np.uint64(32), others


def _quotients(digits: Words, decimals: Positions) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`digits` over a power of ten, where a float64 cannot hold `digits`."""
    if not _HAS_EXTENDED:
        return digits.astype(np.float64), np.zeros(len(digits), dtype=np.bool_)
    exact: Any = digits.astype(np.longdouble) / POWERS[decimals].astype(np.longdouble)
    # 64 bits, which rounded again to 53 are right unless they lie half way between two float64.
    significand = exact.view(np.uint8).reshape(len(digits), -1)[:, :8].copy().view("<u8").ravel()
    return exact.astype(np.float64), (significand & np.uint64(0x7FF)) != np.uint64(0x400)
