"""Float64 as text, a column at once, as Python's repr() writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.decimal_reading import POWERS
from pyserini_tasb.evaluate.columnar.packed_text import CHARACTERS
from pyserini_tasb.evaluate.columnar.shortest_decimals import LARGEST, SMALLEST, shortest_decimals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.uint64]

_DECIMAL_WORDS = 3
WIDTH = CHARACTERS * (1 + _DECIMAL_WORDS)  # sign, six digits and the dot; decimals to the right
_MOST_DECIMALS = CHARACTERS * _DECIMAL_WORDS - 1
_DOT, _MINUS = np.uint64(ord(".") << 56), np.uint64(ord("-"))
_HIGH_BITS = np.uint64(0x8080808080808080)
_ZEROS = np.uint64(0x3030303030303030)


def _shown() -> Integers:
    """By decimals and zeros at their end, which characters of the three words there are."""
    from_right = np.arange(CHARACTERS * _DECIMAL_WORDS)[::-1]
    count = np.arange(_MOST_DECIMALS + 1)[:, None, None]
    zeros = np.arange(_MOST_DECIMALS + 1)[None, :, None]
    shown = (from_right < count) & (from_right >= zeros)
    return np.where(shown, 0xFF, 0).astype(np.uint8).view("<u8").reshape(-1, _DECIMAL_WORDS)


_SHOWN = _shown()
_FOUR_DIGITS = np.array([f"{number:04}".encode() for number in range(10_000)], dtype="S4").view("<u4").astype("<u8")


def decimal_texts(numbers: NDArray[np.float64]) -> NDArray[np.bytes_]:
    """The texts with zero bytes before, behind and within them, shape (numbers,).

    Args:
        numbers: finite, shape (numbers,).
    """
    sizes = np.abs(numbers)
    usual = (sizes >= SMALLEST) & (sizes < LARGEST)
    digits, decimals, zeros, certain = shortest_decimals(np.where(usual, sizes, 1.5))
    words = np.empty((len(numbers), 1 + _DECIMAL_WORDS), dtype="<u8")
    scales = POWERS.take(decimals)
    whole = digits // scales
    words[:, 0] = _whole(whole) | _MINUS * (numbers < 0)
    behind = digits - whole * scales
    for column in range(_DECIMAL_WORDS, 0, -1):
        before = behind // POWERS[CHARACTERS]
        words[:, column] = _eight_digits(behind - before * POWERS[CHARACTERS])
        behind = before
    words[:, 1:] &= _SHOWN.take(decimals * (_MOST_DECIMALS + 1) + zeros, axis=0)
    texts = words.view(f"S{WIDTH}").ravel()
    for row in np.flatnonzero(~(usual & certain)).tolist():
        texts[row] = repr(float(numbers[row])).encode()
    return texts


def _whole(numbers: Integers) -> Integers:
    """What stands before the dot, and the dot: eight characters, zero bytes before them."""
    word = (_eight_digits(numbers) >> np.uint64(8)) | _DOT
    # The last digit and the dot always count.
    digits = (word ^ _ZEROS) | np.uint64(0xFFFF << 48)
    before = ((digits & (~digits + np.uint64(1))) - np.uint64(1)) & _HIGH_BITS
    return word & ~((before >> np.uint64(7)) * np.uint64(0xFF))


def _eight_digits(numbers: Integers) -> Integers:
    """Of integers below 10**8; the first digit is the lowest byte."""
    high = numbers // POWERS[4]
    low = numbers - high * POWERS[4]
    # `take` knows no unsigned positions.
    first, last = _FOUR_DIGITS.take(high.view(np.int64)), _FOUR_DIGITS.take(low.view(np.int64))
    return np.asarray(first | (last << np.uint64(32)))
