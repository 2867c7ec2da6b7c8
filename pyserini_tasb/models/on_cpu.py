"""Training a Hugging Face encoder faster on a CPU, without changing what it computes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.models.bert_dot import layers_are_known
from pyserini_tasb.models.packing import Apart, Packing, start_packing
from pyserini_tasb.models.tokenizers import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


# What is multiplied has sizes rounded up to these, so that sizes recur. For each new one oneDNN compiles kernels, 2 ms
# each and 30 a step before, and keeps them: scattered between freed tensors, so that larger ones fitted nowhere.
ROWS, WIDTH = 128, 8
# Of a rectangle that attention sees at once, with padding.
TOKENS_PER_RECTANGLE = 2_048
ATTENTION = "tasb-cpu-training"


def prepare_for_cpu(transformer: Any) -> None:
    """Replace its dropout and attention, and let it pack texts."""
    use_cpu_attention(transformer)
    use_cpu_dropout(transformer)
    pack_texts(transformer)


def use_cpu_attention(transformer: Any) -> None:
    """Let a Hugging Face encoder attend so, unless it has attention code of its own, or attends in another way.

    Causal models rely on their attention to hide what follows, and some share keys between heads.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    other = any(
        getattr(module, "is_causal", False) or getattr(module, "num_key_value_groups", 1) > 1
        for module in transformer.modules()
    )
    if getattr(transformer, "_supports_attention_backend", False) and not other:
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        transformer.set_attn_implementation(ATTENTION)


def attention(  # noqa: PLR0917 - Hugging Face's interface
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: CpuPacking | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, all of [texts, heads, tokens, size], as Hugging Face's interface wants it.

    With `packing`, all of [1, heads, all tokens, size].
    """
    query = query * (scaling or query.size(-1) ** -0.5)
    if packing is None:
        return _attended(query, key, value, attention_mask, dropout).transpose(1, 2).contiguous(), None
    parts = zip(packing.apart(query), packing.apart(key), packing.apart(value), packing.seen, strict=True)
    return packing.together([_attended(*part, dropout) for part in parts]), None


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """[texts, heads, tokens, size] of a query already scaled; `seen` is bool, broadcast over heads and queries.

    Written out, because PyTorch's kernels take their own dropout only, and their way back in bf16 is slow on CPUs.
    """
    weights = query @ key.transpose(-1, -2)
    if seen is not None:
        lowest = weights.new_full((), torch.finfo(weights.dtype).min)
        weights = weights + torch.where(seen, weights.new_zeros(()), lowest)
    return apply_dropout(torch.softmax(weights, dim=-1), dropout) @ value


def use_cpu_dropout(transformer: Any) -> None:
    """Replace every module of dropout in a Hugging Face encoder."""
    for module in list(transformer.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, CpuDropout(child.p).train(child.training))


class CpuDropout(torch.nn.Module):
    """In place of `torch.nn.Dropout`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`values` with some of them 0, in training; as they are otherwise."""
        return apply_dropout(values, self.p) if self.training else values


def apply_dropout(values: torch.Tensor, p: float) -> torch.Tensor:
    """`values`, each 0 with probability `p` (rounded to 1/65,536) and else divided by 1 - `p`.

    PyTorch draws one Bernoulli number at a time on a CPU: 14 to 17 ns an element were measured, a third of a training
    step of MiniLM. Here 64 random bits decide on four elements, in about 3 ns each.
    """
    if not p:
        return values
    count = values.numel()
    words = _bits.generator.random_raw((count + 3) // 4).view(np.int16)[:count]
    dropped = torch.from_numpy(words).view(values.shape) < round(p * 65_536) - 32_768
    return values * torch.where(dropped, values.new_zeros(()), values.new_full((), 1 / (1 - p)))


def seed_cpu_dropout(seed: int) -> None:
    """Begin the stream of random bits that belongs to `seed`."""
    _bits.generator = np.random.SFC64(seed)


class _Bits:
    """One stream for all dropouts of a process, as PyTorch has one."""

    def __init__(self) -> None:
        self.generator = np.random.SFC64(0)


_bits = _Bits()


def pack_texts(transformer: Any) -> None:
    """Let a BERT or a DistilBERT pack every batch from now on, which saves computing padding; leave others as they are.

    Its attention has to be that of `on_cpu.attention`, its input padded on the right.
    """
    if layers_are_known(transformer):
        start_packing(transformer, _packing)


def _packing(_transformer: Any, mask: torch.Tensor) -> CpuPacking | None:
    if bool(mask.all()):  # no padding to leave out
        return None
    lengths = mask.sum(dim=1).numpy()
    groups = list(batches_by_length(rounded_up(lengths).tolist(), TOKENS_PER_RECTANGLE))
    return CpuPacking(lengths, groups, columns=mask.shape[1])


class CpuPacking(Packing):
    """Where a batch's tokens lie once they are packed: in the first of `rows`; what is in the others has no meaning.

    Args:
        lengths: [texts] tokens of each.
        groups: texts that make a rectangle, longest first; in this order they are packed. Together all texts, once.
        columns: the width of the rectangle that the texts come in, and leave in.
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
        """The mask of tokens of each rectangle, [texts, 1, 1, tokens]; None where all are tokens."""
        return [None if grid.is_token.all() else torch.from_numpy(grid.is_token[:, None, None]) for grid in self._grids]

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """[1, rows] of token ids or the like, [texts, columns]."""
        values = torch.nn.functional.pad(values, (0, self.mask.shape[1] - self.columns))
        return values.flatten()[self._padding.back][None]

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """[texts, width, size] of [1, rows, size]; the values of the padding have no meaning."""
        rows: torch.Tensor = Apart.apply(values[0], self._padding)  # type: ignore[no-untyped-call]
        return rows.view(*self._whole.is_token.shape, -1)

    def apart(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Rectangles [some texts, heads, tokens, size] of [1, heads, rows, size]."""
        _, heads, _, size = values.shape
        rows: torch.Tensor = Apart.apply(  # type: ignore[no-untyped-call]
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
    """Texts as a rectangle: for each of its places [texts, width] the packed row at that place.

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


# The other way of `Apart`.
class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: _Move) -> torch.Tensor:
        ctx.move = move
        return rows.index_select(0, move.back)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.index_select(0, ctx.move.there).index_fill_(0, ctx.move.padding, 0), None


def rounded_up(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """[texts] the width of the rectangle that each would have for itself."""
    return -(-lengths // WIDTH) * WIDTH
