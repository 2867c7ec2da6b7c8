"""Texts by index, from wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray


class Texts(Protocol):
    """Texts by index; a `TextStore` is one."""

    def __len__(self) -> int:
        """How many."""

    def texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """Those at `indices`, in that order."""


class ListedTexts:
    """Texts in memory.

    Args:
        listed: the texts; index i is the i-th.
    """

    def __init__(self, listed: Sequence[str]) -> None:
        self._listed = listed

    def __len__(self) -> int:
        return len(self._listed)

    def texts(self, indices: Iterable[int] | NDArray[np.integer]) -> list[str]:
        """Those at `indices`, in that order."""
        return [self._listed[int(index)] for index in indices]
