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
        self._dealt = 0
        self._moved: dict[int, int] = {}

    @property
    def remaining(self) -> int:
        """How many are left."""
        return self._size - self._dealt

    def take(self, count: int) -> list[int]:
        """The next `count` of them; at most what remains."""
        moved, size = self._moved, self._size
        dealt = []
        for place, uniform in enumerate(self._uniforms.take(count).tolist(), self._dealt):
            drawn = place + int(uniform * (size - place))
            dealt.append(moved.get(drawn, drawn))
            moved[drawn] = moved.pop(place, place)
        self._dealt += count
        return dealt
