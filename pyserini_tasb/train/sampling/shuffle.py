"""Drawing without replacement, as many as are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserini_tasb.train.sampling.uniforms import Uniforms


class Shuffle:
    """`range(size)` in random order, dealt out piece by piece; all orders are equally likely.

    A Fisher-Yates shuffle that notes only what it moved: the cost is of what is taken, not of `size`.

    Args:
        size: how many there are.
        uniforms: where the randomness comes from.
    """

    def __init__(self, size: int, uniforms: Uniforms) -> None:
        self._size, self._uniforms = size, uniforms
        self._taken = 0
        self._moved: dict[int, int] = {}

    @property
    def remaining(self) -> int:
        """How many are left."""
        return self._size - self._taken

    def take(self, count: int) -> list[int]:
        """The next `count` of them; at most what remains."""
        moved = self._moved
        taken = []
        for uniform in self._uniforms.take(count).tolist():
            place = self._taken + int(uniform * (self._size - self._taken))
            taken.append(moved.get(place, place))
            moved[place] = moved.pop(self._taken, self._taken)
            self._taken += 1
        return taken
