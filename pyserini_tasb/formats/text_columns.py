"""Columns of text as numpy arrays, and decimal numbers that are read and written a column at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Positions = NDArray[np.int64]
    Integers = NDArray[np.uint64]
    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Mask = NDArray[np.bool_]


CHARACTERS = 8
# Masks of the first 0 to 8 characters of a word whose first character is its lowest byte.
KEEP = np.array([(1 << 8 * count) - 1 for count in range(CHARACTERS + 1)], dtype=np.uint64)
# Words can be read from any position up to so many bytes behind the end, where there are zeros.
_PADDING = 2 * CHARACTERS


class PackedText:
    """Bytes that can be read as words from any position.

    Args:
        text: the bytes to read, a few megabytes at most, so that the columns stay in the processor's cache.
    """

    def __init__(self, text: bytes) -> None:
        padded = text + bytes(_PADDING)
        self.characters = np.frombuffer(padded, dtype=np.uint8)
        self._words: Words = np.ndarray(len(padded) - CHARACTERS + 1, dtype="<u8", buffer=padded, strides=1)

    def words(self, at: Positions) -> Words:
        """The eight characters from each position on, the first of them the lowest byte."""
        return self._words[at]

    def columns(self, starts: Positions, ends: Positions) -> NDArray[np.uint64]:
        """Texts as big-endian words, shape (texts, words), zeros behind them: they compare as their bytes do."""
        lengths = ends - starts
        width = max(1, -(-int(lengths.max(initial=0)) // CHARACTERS))
        packed = np.empty((len(starts), width), dtype=np.uint64)
        for number in range(width):
            skipped = CHARACTERS * number
            kept = np.minimum(np.maximum(lengths - skipped, 0), CHARACTERS)
            packed[:, number] = (self.words(np.minimum(starts + skipped, ends)) & KEEP.take(kept)).byteswap()
        return packed


def pack(texts: Sequence[bytes]) -> NDArray[np.uint64]:
    """Texts as `PackedText.columns` has them."""
    joined = b"".join(texts)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    ends = np.cumsum(lengths)
    return PackedText(joined).columns(ends - lengths, ends)


def unpack(packed: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    """The texts again, shape (texts,)."""
    wide = np.ascontiguousarray(packed).astype(">u8")
    return wide.view(f"S{CHARACTERS * packed.shape[1]}").ravel()


def differs_from_row_before(packed: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """True if a text is not that of the row before; true of the first, shape (texts,)."""
    differs = np.ones(len(packed), dtype=np.bool_)
    if len(packed):
        differs[1:] = packed[1:, 0] != packed[:-1, 0]
    for word in range(1, packed.shape[1]):
        differs[1:] |= packed[1:, word] != packed[:-1, word]
    return differs


def widened(packed: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """The same texts in `width` words."""
    if packed.shape[1] == width:
        return packed
    return np.pad(packed, ((0, 0), (0, width - packed.shape[1])))


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
    """Numbers such as `-12.5` or `7` as float(), and which of them were read; what has an exponent, say, is not.

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
        sizes: the numbers, from `SMALLEST` on and below `LARGEST`, shape (numbers,).

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
    """The product as float64 rounds it, and what is to be added (Dekker 1971)."""
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


_DECIMAL_WORDS = 3
WIDTH = CHARACTERS * (1 + _DECIMAL_WORDS)  # sign, six digits and the dot; decimals to the right
_MOST_DECIMALS = CHARACTERS * _DECIMAL_WORDS - 1
_DOT, _MINUS = np.uint64(ord(".") << 56), np.uint64(ord("-"))


def _shown() -> Integers:
    """The characters of the three words to keep, by decimals and zeros at their end."""
    from_right = np.arange(CHARACTERS * _DECIMAL_WORDS)[::-1]
    count = np.arange(_MOST_DECIMALS + 1)[:, None, None]
    zeros = np.arange(_MOST_DECIMALS + 1)[None, :, None]
    shown = (from_right < count) & (from_right >= zeros)
    return np.where(shown, 0xFF, 0).astype(np.uint8).view("<u8").reshape(-1, _DECIMAL_WORDS)


_SHOWN = _shown()
_FOUR_DIGITS = np.array([f"{number:04}".encode() for number in range(10_000)], dtype="S4").view("<u4").astype("<u8")


def decimal_texts(numbers: NDArray[np.float64]) -> NDArray[np.bytes_]:
    """Float64 as repr() writes them, with zero bytes before, behind and within the texts, shape (numbers,).

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
    """The digits before the dot, and the dot: eight characters, zero bytes before them."""
    word = (_eight_digits(numbers) >> np.uint64(8)) | _DOT
    # The last digit and the dot always count.
    digits = (word ^ _ZEROS) | np.uint64(0xFFFF << 48)
    before = ((digits & (~digits + np.uint64(1))) - np.uint64(1)) & _HIGH_BITS
    return word & ~((before >> np.uint64(7)) * np.uint64(0xFF))


def _eight_digits(numbers: Integers) -> Integers:
    """The digits of integers below 10**8; the first digit is the lowest byte."""
    high = numbers // POWERS[4]
    low = numbers - high * POWERS[4]
    # `take` knows no unsigned positions.
    first, last = _FOUR_DIGITS.take(high.view(np.int64)), _FOUR_DIGITS.take(low.view(np.int64))
    return np.asarray(first | (last << np.uint64(32)))
