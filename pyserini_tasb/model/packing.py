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

# What is multiplied has sizes rounded up to these, so that sizes recur. For each new one oneDNN compiles kernels, 2 ms
# each and 30 a step before, and keeps them: scattered between freed tensors, so that larger ones fitted nowhere.
ROWS, WIDTH = 128, 8


def rounded_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """[texts] the width of the rectangle that each would have for itself."""
    return -(-lengths // WIDTH) * WIDTH


class Packing:
    """Where a batch's tokens lie once they are packed: in the first of `rows`; what is in the others has no meaning.

    Args:
        lengths: [texts] tokens of each.
        groups: texts that make a rectangle, longest first; in this order they are packed. Together all texts, once.
        columns: of the rectangle that the texts come in, and leave in.
    """

    def __init__(self, lengths: NDArray[np.int64], groups: Sequence[NDArray[np.intp]], columns: int) -> None:
        self.columns, self.rows = columns, -(-int(lengths.sum()) // ROWS) * ROWS
        order = np.concatenate(groups)
        self._lengths = lengths[order]  # as they are packed
        self._starts = np.empty_like(lengths)
        self._starts[order] = np.cumsum(self._lengths) - self._lengths
        self._whole = _Grid(self._starts, lengths)
        self._grids = [_Grid(self._starts[texts], lengths[texts]) for texts in groups]
        self._padding, self._apart = _Move([self._whole], self.rows), _Move(self._grids, self.rows)

    @cached_property
    def mask(self) -> torch.Tensor:
        """[texts, width], true where there is a token; the width is that of the longest, rounded up."""
        return torch.from_numpy(self._whole.is_token)

    @cached_property
    def first(self) -> torch.Tensor:
        """[texts] where each text begins."""
        return torch.from_numpy(self._starts)

    @cached_property
    def positions(self) -> torch.Tensor:
        """[1, rows] of each token in its text."""
        positions = np.concatenate([np.arange(length) for length in self._lengths])
        return torch.from_numpy(np.pad(positions, (0, self.rows - len(positions))))[None]

    @cached_property
    def seen(self) -> list[torch.Tensor | None]:
        """For each rectangle, what is a token, [texts, 1, 1, tokens]; None if all is."""
        return [None if grid.is_token.all() else torch.from_numpy(grid.is_token[:, None, None]) for grid in self._grids]

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """[1, rows] of token ids or the like, [texts, columns]."""
        values = torch.nn.functional.pad(values, (0, self.mask.shape[1] - self.columns))
        return values.flatten()[self._padding.back][None]

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """[texts, width, size] of [1, rows, size]; what stands in the padding has no meaning."""
        rows: torch.Tensor = _Apart.apply(values[0], self._padding)  # type: ignore[no-untyped-call]
        return rows.view(*self._whole.is_token.shape, -1)

    def apart(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Rectangles [some texts, heads, tokens, size] of [1, heads, rows, size]."""
        _, heads, _, size = values.shape
        rows: torch.Tensor = _Apart.apply(  # type: ignore[no-untyped-call]
            values[0].transpose(0, 1).reshape(self.rows, heads * size), self._apart
        )
        parts = torch.split(rows, [grid.there.size for grid in self._grids])
        return [
            part.view(*grid.there.shape, heads, size).transpose(1, 2)
            for part, grid in zip(parts, self._grids, strict=True)
        ]

    def together(self, rectangles: Sequence[torch.Tensor]) -> torch.Tensor:
        """[1, rows, heads, size] of rectangles as `apart` returns them."""
        _, heads, _, size = rectangles[0].shape
        rows = torch.cat([part.transpose(1, 2).reshape(-1, heads * size) for part in rectangles])
        packed: torch.Tensor = _Together.apply(rows, self._apart)  # type: ignore[no-untyped-call]
        return packed.view(1, -1, heads, size)


class _Grid:
    """Texts as a rectangle: for each of its places [texts, width] the packed row that stands there.

    Where a text has ended, that is its first token's: any that is finite would do.
    """

    def __init__(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        offsets = np.arange(rounded_up(lengths).max())
        self.is_token = offsets < lengths[:, None]
        self.there = starts[:, None] + np.where(self.is_token, offsets, 0)


class _Move:
    """From packed rows to the rows of grids, and back."""

    def __init__(self, grids: Sequence[_Grid], rows: int) -> None:
        there = np.concatenate([grid.there.ravel() for grid in grids])
        is_token = np.concatenate([grid.is_token.ravel() for grid in grids])
        self.tokens = int(is_token.sum())
        back = np.zeros(rows, dtype=np.int64)  # those behind the tokens: any that is finite would do
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
        rows = gradient.index_select(0, ctx.move.back)
        rows[ctx.move.tokens :] = 0
        return rows, None


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: _Move) -> torch.Tensor:
        ctx.move = move
        return rows.index_select(0, move.back)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.index_select(0, ctx.move.there).index_fill_(0, ctx.move.padding, 0), None
