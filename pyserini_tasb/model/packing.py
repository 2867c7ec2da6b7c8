"""A batch's texts one behind the other, without padding between them.

All that a transformer does token by token, nine tenths of its work, is then done for tokens alone. Attention looks at
texts apart: at rectangles of texts of similar length.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Packing:
    """Where a batch's tokens lie once they are packed.

    Args:
        lengths: [texts] tokens of each.
        groups: texts that make a rectangle, longest first; in this order they are packed. Together all texts, once.
    """

    def __init__(self, lengths: NDArray[np.int64], groups: Sequence[NDArray[np.intp]]) -> None:
        order = np.concatenate(groups)
        self._lengths = lengths[order]  # as they are packed
        self._starts = np.empty_like(lengths)
        self._starts[order] = np.cumsum(self._lengths) - self._lengths
        self._whole = _Grid(self._starts, lengths)
        self._grids = [_Grid(self._starts[texts], lengths[texts]) for texts in groups]
        self._padding, self._apart = _Move([self._whole]), _Move(self._grids)

    @cached_property
    def mask(self) -> torch.Tensor:
        """[texts, longest], true where there is a token."""
        return torch.from_numpy(self._whole.is_token)

    @cached_property
    def first(self) -> torch.Tensor:
        """[texts] where each text begins."""
        return torch.from_numpy(self._starts)

    @cached_property
    def positions(self) -> torch.Tensor:
        """[1, all tokens] of each token in its text."""
        return torch.from_numpy(np.concatenate([np.arange(length) for length in self._lengths]))[None]

    @cached_property
    def seen(self) -> list[torch.Tensor | None]:
        """For each rectangle, what is a token, [texts, 1, 1, tokens]; None if all is."""
        return [None if grid.is_token.all() else torch.from_numpy(grid.is_token[:, None, None]) for grid in self._grids]

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """[1, all tokens] of token ids or the like, [texts, longest]."""
        return values.flatten()[self._padding.back][None]

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """[texts, longest, size] of [1, all tokens, size]; what stands in the padding has no meaning."""
        rows: torch.Tensor = _Apart.apply(values[0], self._padding)  # type: ignore[no-untyped-call]
        return rows.view(*self._whole.is_token.shape, -1)

    def apart(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Rectangles [some texts, heads, tokens, size] of [1, heads, all tokens, size]."""
        _, heads, tokens, size = values.shape
        rows: torch.Tensor = _Apart.apply(  # type: ignore[no-untyped-call]
            values[0].transpose(0, 1).reshape(tokens, heads * size), self._apart
        )
        parts = torch.split(rows, [grid.there.size for grid in self._grids])
        return [
            part.view(*grid.there.shape, heads, size).transpose(1, 2)
            for part, grid in zip(parts, self._grids, strict=True)
        ]

    def together(self, rectangles: Sequence[torch.Tensor]) -> torch.Tensor:
        """[1, all tokens, heads, size] of rectangles as `apart` returns them."""
        _, heads, _, size = rectangles[0].shape
        rows = torch.cat([part.transpose(1, 2).reshape(-1, heads * size) for part in rectangles])
        packed: torch.Tensor = _Together.apply(rows, self._apart)  # type: ignore[no-untyped-call]
        return packed.view(1, -1, heads, size)


class _Grid:
    """Texts as a rectangle: for each of its places [texts, longest] the packed row that stands there.

    Where a text has ended, that is its first token's: any that is finite would do.
    """

    def __init__(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        offsets = np.arange(lengths.max())
        self.is_token = offsets < lengths[:, None]
        self.there = starts[:, None] + np.where(self.is_token, offsets, 0)


class _Move:
    """From packed rows to the rows of grids, and back."""

    def __init__(self, grids: Sequence[_Grid]) -> None:
        there = np.concatenate([grid.there.ravel() for grid in grids])
        is_token = np.concatenate([grid.is_token.ravel() for grid in grids])
        back = np.empty(is_token.sum(), dtype=np.int64)
        back[there[is_token]] = np.flatnonzero(is_token)
        self.there, self.back = torch.from_numpy(there), torch.from_numpy(back)
        self.padding = torch.from_numpy(np.flatnonzero(~is_token))


# Each is the other's way back. PyTorch's own, for rows picked by number, adds them up one at a time.
class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: _Move) -> torch.Tensor:
        ctx.move = move
        return rows.index_select(0, move.there)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.index_select(0, ctx.move.back), None


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: _Move) -> torch.Tensor:
        ctx.move = move
        return rows.index_select(0, move.back)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.index_select(0, ctx.move.there).index_fill_(0, ctx.move.padding, 0), None
