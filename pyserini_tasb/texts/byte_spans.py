"""Many short strings in one buffer of bytes, hashed and compared without a Python object for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

WORD = 8
PADDING = b"\0" * WORD
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(WORD)] + [2**64 - 1], np.uint64)


@dataclass(frozen=True)
class Spans:
    """Strings as places in a buffer.

    Args:
        buffer: bytes; at least 8 follow the last string.
        starts: [strings] where each begins.
        lengths: [strings] in bytes.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Spans:
        """Spans of strings in memory."""
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        buffer = np.frombuffer(b"".join(strings) + PADDING, np.uint8)
        return cls(buffer, np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, chosen: NDArray[np.int64] | slice) -> Spans:
        return Spans(self.buffer, self.starts[chosen], self.lengths[chosen])

    def string(self, number: int) -> str:
        """One of the strings, for a message."""
        start = int(self.starts[number])
        return bytes(self.buffer[start : start + int(self.lengths[number])]).decode(errors="replace")

    def strings(self) -> Iterator[bytes]:
        """All strings, one after the other."""
        memory = self.buffer.data
        for start, end in zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True):
            yield bytes(memory[start:end])

    def first_bytes(self, count: int) -> NDArray[np.uint8]:
        """[strings, count] the first bytes of each; 0 where a string has ended."""
        first = np.zeros((len(self), count), np.uint8)
        for place in range(count):
            longer = np.flatnonzero(self.lengths > place)
            first[longer, place] = self.buffer[self.starts[longer] + place]
        return first

    def hashes(self) -> NDArray[np.uint64]:
        """64-bit hashes, the same on every machine. Not proof against people who want collisions: compare, too."""
        hashes = _mix(self.lengths.astype(np.uint64))
        for offset, rest in self._word_offsets():
            hashes[rest] = _mix(hashes[rest] ^ self._words(rest, offset))
        return hashes

    def equal(self, others: Spans) -> NDArray[np.bool_]:
        """Which of these strings equal their partners."""
        equal: NDArray[np.bool_] = self.lengths == others.lengths
        for offset, longer in self._word_offsets():
            rest = longer[equal[longer]]
            equal[rest] = self._words(rest, offset) == others._words(rest, offset)
        return equal

    def _word_offsets(self) -> list[tuple[int, NDArray[np.int64]]]:
        longest = int(self.lengths.max(initial=0))
        return [(offset, np.flatnonzero(self.lengths > offset)) for offset in range(0, longest, WORD)]

    def _words(self, numbers: NDArray[np.int64], offset: int) -> NDArray[np.uint64]:
        """Eight bytes of each string from `offset` on; what is beyond its end is zero."""
        # Every offset is the start of a word: an overlapping view, which copies nothing.
        words: NDArray[np.uint64] = np.ndarray((len(self.buffer) - WORD + 1,), "<u8", self.buffer, 0, (1,))
        masks = _MASKS[np.minimum(self.lengths[numbers] - offset, WORD)]
        return words[self.starts[numbers] + offset] & masks


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
