"""Distinct texts as they come, each stored once under an id made of its content."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.texts.text_writer import TextStoreWriter

RECENT = 1 << 20
_DIGESTS = np.dtype([("high", ">u8"), ("low", ">u8")])


class TextPool:
    """Numbers texts in the order of their first appearance.

    Memory: 24 bytes for each distinct text, and about 150 MB for the last million.

    Args:
        writer: gets each text the first time, under the hexadecimal BLAKE2b digest (128 bits) of its UTF-8.
    """

    def __init__(self, writer: TextStoreWriter) -> None:
        self._writer = writer
        self._recent: dict[bytes, int] = {}
        self._high, self._low = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._indices = np.zeros(0, np.int64)

    def add(self, texts: Sequence[bytes]) -> NDArray[np.int64]:
        """The index of each text."""
        digests = [blake2b(text, digest_size=16).digest() for text in texts]
        indices = self._find(digests)
        new: dict[bytes, bytes] = {}
        for row in np.flatnonzero(indices < 0).tolist():
            digest = digests[row]
            index = self._recent.setdefault(digest, self._writer.records + len(new))
            if index == self._writer.records + len(new):
                new[digest] = texts[row]
            indices[row] = index
        self._writer.add([digest.hex().encode() for digest in new], list(new.values()))
        if len(self._recent) > RECENT:
            self._settle()
        return indices

    def _find(self, digests: list[bytes]) -> NDArray[np.int64]:
        """Indices among the texts that are not recent, else -1."""
        if not len(self._high):
            return np.full(len(digests), -1)
        wanted = np.frombuffer(b"".join(digests), _DIGESTS)
        places = np.minimum(np.searchsorted(self._high, wanted["high"]), len(self._high) - 1)
        same = (self._high[places] == wanted["high"]) & (self._low[places] == wanted["low"])
        return np.where(same, self._indices[places], -1)

    def _settle(self) -> None:
        """Move the recent texts into the sorted arrays, which are smaller and dearer to change than a dict."""
        recent = np.frombuffer(b"".join(self._recent), _DIGESTS)
        high = np.concatenate((self._high, recent["high"].astype(np.uint64)))
        order = np.argsort(high)
        self._high = high[order]
        self._low = np.concatenate((self._low, recent["low"].astype(np.uint64)))[order]
        added = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        self._indices = np.concatenate((self._indices, added))[order]
        self._recent = {}
