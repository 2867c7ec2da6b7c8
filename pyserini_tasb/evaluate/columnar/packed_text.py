"""Text by the word: eight characters in one 64-bit integer, for a whole column at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Positions = NDArray[np.int64]

CHARACTERS = 8
# Masks of the first 0 to 8 characters of a word whose first character is its lowest byte.
KEEP = np.array([(1 << 8 * count) - 1 for count in range(CHARACTERS + 1)], dtype=np.uint64)
# Words can be read from any position up to so many bytes behind the end, where there are zeros.
_PADDING = 2 * CHARACTERS


class PackedText:
    """Bytes that can be read as words from any position.

    Args:
        text: at most some megabytes, so that the columns made of it stay in the processor's cache.
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
    """Whether a text is not that of the row before; true of the first, shape (texts,)."""
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
