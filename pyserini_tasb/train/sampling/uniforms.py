"""Random numbers that are a function of seed and step."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Purpose(IntEnum):
    """Each purpose has numbers of its own: how pairs are chosen changes nothing about which queries are."""

    QUERIES = 1
    PAIRS = 2


class Uniforms:
    """Uniform random numbers in [0, 1), the same for the same seed, step and purpose.

    They come from Philox (Salmon et al., SC 2011), a function of key and counter. Only its raw 64-bit output is used:
    NumPy guarantees that output to stay as it is, but not the methods of `Generator`.

    Args:
        seed: from 0, below 2^64.
        step: likewise.
        purpose: what they are for.
    """

    def __init__(self, seed: int, step: int, purpose: Purpose) -> None:
        # Philox counts up in the lowest word; steps differ in the next one, so no two of them ever meet.
        key, counter = np.array([seed, purpose], np.uint64), np.array([0, step, 0, 0], np.uint64)
        self._bits = np.random.Philox(key=key, counter=counter)

    def take(self, count: int) -> NDArray[np.float64]:
        """The next `count` numbers."""
        # A double holds 53 bits: with more, the highest values would round to 1.
        raw: NDArray[np.uint64] = self._bits.random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
