"""Packed texts: a batch's tokens one text behind the other, so that a BERT or a DistilBERT computes no padding.

How attention is computed, so that no text sees another, differs by hardware: `on_cpu` and `on_gpu`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


INPUTS = ("input_ids", "token_type_ids")


class Packing(ABC):
    """Where a batch's tokens lie once they are packed.

    Attributes:
        columns: the width of the rectangle that the texts come in, and leave in.
        rows: tokens, and perhaps spare rows behind them, in which nothing has a meaning.
    """

    columns: int
    rows: int

    @property
    @abstractmethod
    def mask(self) -> torch.Tensor:
        """[texts, width], true where there is a token."""

    @property
    @abstractmethod
    def first(self) -> torch.Tensor:
        """[texts] where each text begins."""

    @property
    @abstractmethod
    def positions(self) -> torch.Tensor:
        """[1, rows] of each token in its text."""

    @abstractmethod
    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """[1, rows] of token ids or the like, [texts, columns]."""

    @abstractmethod
    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """[texts, width, size] of [1, rows, size]; the values of the padding have no meaning."""

    def attended_by_first(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, size: int, dropout: float
    ) -> torch.Tensor | None:
        """Attention of each text's first token, [texts, 1, heads x size]; None leaves it to one that knows padding.

        Args:
            query: [texts, 1, heads x size].
            key: [1, rows, heads x size].
            value: likewise.
            size: the size of an attention head.
            dropout: the probability with which one of attention's weights is 0.
        """
        return None


Pack: TypeAlias = "Callable[[Any, torch.Tensor], Packing | None]"
"""A transformer and a mask [texts, tokens] → how it packs these texts; None where there is nothing to gain."""


def start_packing(transformer: Any, pack: Pack) -> Callable[[], None]:
    """Let a BERT or a DistilBERT pack every batch from now on, which comes padded on the right and leaves so.

    Its layers get the `Packing` under the name `packing`. Their attention has to read it, so that no text sees another.

    Returns:
        A function that ends it.
    """
    handles = (
        transformer.register_forward_pre_hook(_Packer(pack), with_kwargs=True),
        transformer.register_forward_hook(_pad, with_kwargs=True),
    )

    def stop() -> None:
        for handle in handles:
            handle.remove()

    return stop


def packs_texts(transformer: Any) -> bool:
    """True if it does so."""
    hooks = transformer._forward_pre_hooks.values()  # noqa: SLF001 - PyTorch has no other way to ask
    return any(isinstance(hook, _Packer) for hook in hooks)


class _Packer:
    """A hook that a transformer calls before it computes."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    def __call__(
        self, transformer: Any, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = named.get("attention_mask")
        packing = None if mask is None else self._pack(transformer, mask)
        if packing is None:
            return arguments, named
        inputs: dict[str, Any] = {name: packing.pack(named[name]) for name in INPUTS if name in named}
        return arguments, inputs | {"position_ids": packing.positions, "packing": packing}


def _pad(transformer: Any, _arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
    packing: Packing | None = named.get("packing")
    if packing is None or output.last_hidden_state.shape[1] != packing.rows:  # of the first tokens alone
        return output
    padded = packing.padded(output.last_hidden_state)
    missing = packing.columns - padded.shape[1]
    output.last_hidden_state = torch.nn.functional.pad(padded, (0, 0, 0, missing)) if missing else padded
    if getattr(output, "pooler_output", None) is not None:
        output.pooler_output = transformer.pooler(output.last_hidden_state)
    return output


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` on the device. The CPU goes on while they are copied to a GPU, which only pinned memory allows."""
    if values.device.type == "cpu" and device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class Move(Protocol):
    """From packed rows to places elsewhere, such as those of rectangles, and back.

    Attributes:
        there: [places] the row that each takes; where there is no token, any.
        back: [rows] the place that each is at; behind the tokens, any.
        tokens: the number of rows that hold one.
    """

    there: torch.Tensor
    back: torch.Tensor
    tokens: int


class Apart(torch.autograd.Function):
    """`move.there` of rows. PyTorch's own way back, for rows picked by number, adds them up one at a time."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, move: Move) -> torch.Tensor:
        """The rows at their places."""
        ctx.move = move
        return rows.index_select(0, move.there)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient of each row; 0 behind the tokens."""
        rows = gradient.index_select(0, ctx.move.back)
        rows[ctx.move.tokens :] = 0
        return rows, None
