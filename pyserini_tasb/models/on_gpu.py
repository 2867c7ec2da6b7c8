"""BERT and DistilBERT on an NVIDIA GPU in bf16 or fp16: packed texts, so that no padding is computed.

Attention is PyTorch's own flash attention for texts of various lengths. All versions from 2.9 on have it under the same
name, with the same arguments. `torch.nn.attention.varlen`, the public way to it, is newer and has no dropout, which
training needs.

Nothing here waits for the GPU: the lengths of the texts are read on the CPU, and the rest is computed from them on the
GPU.
"""

from __future__ import annotations

import contextlib
import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from pyserini_tasb.models.bert_dot import layers_are_known
from pyserini_tasb.models.packing import Apart, Packing, moved, packs_texts, start_packing
from pyserini_tasb.models.packing_trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


LOG = logging.getLogger(__name__)

PACKING_VARIABLE = "PYSERINI_TASB_PACKING"
ATTENTION = "tasb-gpu-packed"
# What flash attention needs: half precision, and an Ampere (by its compute capability).
HALF, LEAST_CAPABILITY = (torch.bfloat16, torch.float16), (8, 0)
Attend: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Texts, Texts, float, float], torch.Tensor]"
"""Queries, keys and values, all [rows, heads, size]; the texts of queries, and of keys and values; the probability of
dropout; the factor of products → attention [rows of queries, heads, size], each text's by itself."""


def prepare_for_gpu(transformer: Any, compute: torch.dtype, *, trained: bool = False) -> None:
    """Let a transformer pack texts if it is on a GPU that can, in half precision, and a trial shows that it may.

    With PYSERINI_TASB_PACKING=0 in the environment, none does.

    Args:
        transformer: a model of transformers, on its device; one that is no BERT or DistilBERT stays as it is.
        compute: the type in which matrices are multiplied.
        trained: try gradients too; then weights are in fp32, and `compute` is autocast's.
    """
    if os.environ.get(PACKING_VARIABLE) != "0" and compute in HALF and has_flash_attention(transformer.device):
        pack_if_right(transformer, compute, flash_attention, trained=trained)


def has_flash_attention(device: torch.device) -> bool:
    """True if a device is a GPU for which PyTorch has the kernel."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


def pack_if_right(transformer: Any, compute: torch.dtype, attend: Attend, *, trained: bool = False) -> bool:
    """Let a BERT or a DistilBERT pack texts, if that gives what it gave with padding; else say so, and change nothing.

    Args:
        transformer: a model of transformers.
        compute: the type in which matrices are multiplied.
        attend: attention by which no text sees another.
        trained: see `prepare_for_gpu`.

    Returns:
        Whether it packs.
    """
    if not layers_are_known(transformer):
        return False
    trial = Trial(transformer, compute, gradients=trained)
    with contextlib.ExitStack() as undo:
        try:
            exact, padded = trial.outputs(torch.float32), trial.outputs(compute)
            undo.callback(pack_texts(transformer, attend))
            fault = trial.fault(exact, padded, trial.outputs(compute))
        # PyTorch raises them on a GPU, in a build or in a version that this does not know.
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            fault = str(error).partition("\n")[0] or type(error).__name__
        if not fault:
            undo.pop_all()
            return True
    LOG.warning("texts are not packed on this GPU, and padding is computed: %s", fault)
    return False


def pack_texts(transformer: Any, attend: Attend) -> Callable[[], None]:
    """Let a BERT or a DistilBERT pack every batch from now on.

    Args:
        transformer: the model; it may be on a CPU too.
        attend: attention by which no text sees another.

    Returns:
        A function that ends it.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    usual = transformer.config._attn_implementation  # noqa: SLF001 - transformers has a way to set it, and none to ask
    transformer.set_attn_implementation(ATTENTION)
    stop_packing = start_packing(transformer, lambda packed, mask: _packing(packed, mask, attend))

    def stop() -> None:
        stop_packing()
        transformer.set_attn_implementation(usual)

    return stop


def device_of_inputs(transformer: Any, device: str) -> str:
    """The device to put token ids and masks on, for a transformer on `device`.

    The CPU for one that packs on a GPU: it reads there how long texts are, without waiting for the GPU. It also takes
    inputs that are on the GPU.
    """
    return "cpu" if packs_texts(transformer) else device


def attention(  # noqa: PLR0917 - Hugging Face's interface
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: GpuPacking | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed texts, all of [1, heads, rows, size], as Hugging Face's interface wants it."""
    if packing is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return found
    rows = [part[0].transpose(0, 1) for part in (query, key, value)]
    return packing.attended(*rows, dropout=dropout, scale=scaling or query.size(-1) ** -0.5)[None], None


def _packing(transformer: Any, mask: torch.Tensor, attend: Attend) -> GpuPacking:
    # Where a mask is already on the GPU, this waits for it. A text without a token keeps one of its padding.
    lengths = mask.sum(dim=1).clamp_(min=1).cpu().numpy()
    return GpuPacking(lengths, mask.shape[1], transformer.device, attend)


class Texts:
    """Texts of these lengths, one behind the other.

    Attributes:
        longest: the most rows of one.
        ends: int32 [texts + 1] on the device: 0, then the row behind each text.

    Args:
        lengths: [texts] rows of each.
        device: where `ends` are needed.
    """

    def __init__(self, lengths: NDArray[np.int64], device: torch.device) -> None:
        self.longest = int(lengths.max())
        ends = np.zeros(len(lengths) + 1, dtype=np.int32)
        np.cumsum(lengths, out=ends[1:])
        self.ends = moved(torch.from_numpy(ends), device)


class GpuPacking(Packing):
    """A batch's tokens, without a spare row.

    Args:
        lengths: [texts] tokens of each, at least 1.
        columns: the width of the rectangle that the texts come in, and leave in.
        device: where the model computes.
        attend: attention by which no text sees another.
    """

    def __init__(self, lengths: NDArray[np.int64], columns: int, device: torch.device, attend: Attend) -> None:
        self.columns, self.rows = columns, int(lengths.sum())
        self.tokens = self.rows
        self._texts = Texts(lengths, device)
        self._attend = attend

    @cached_property
    def first(self) -> torch.Tensor:
        """[texts] where each text begins."""
        return self._texts.ends[:-1].long()

    @cached_property
    def mask(self) -> torch.Tensor:
        """[texts, columns], true where there is a token."""
        return self._columns < self._texts.ends.diff()[:, None]

    @cached_property
    def positions(self) -> torch.Tensor:
        """[1, rows] of each token in its text."""
        return (torch.arange(self.rows, device=self.first.device) - self.first[self._text])[None]

    @cached_property
    def there(self) -> torch.Tensor:
        """[texts x columns] the row at each place of the rectangle; a text's first where it has ended."""
        return (self.first[:, None] + self._columns * self.mask).flatten()

    @cached_property
    def back(self) -> torch.Tensor:
        """[rows] the place of each in the rectangle."""
        return self._text * self.columns + self.positions[0]

    @property
    def _columns(self) -> torch.Tensor:
        return torch.arange(self.columns, device=self.first.device)

    @cached_property
    def _text(self) -> torch.Tensor:
        """[rows] the text of each."""
        return torch.repeat_interleave(self._texts.ends.diff().long(), output_size=self.rows)

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """[1, rows] of token ids or the like, [texts, columns], from the CPU or the GPU."""
        return moved(values, self.first.device).flatten()[self.back][None]

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """[texts, columns, size] of [1, rows, size]; the values of the padding have no meaning."""
        rows: torch.Tensor = Apart.apply(values[0], self)  # type: ignore[no-untyped-call]
        return rows.view(-1, self.columns, values.shape[-1])

    def attended(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, dropout: float, scale: float
    ) -> torch.Tensor:
        """Attention [rows, heads, size] of every token, all of the same shape."""
        return self._attend(query, key, value, self._texts, self._texts, dropout, scale)

    def attended_by_first(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, size: int, dropout: float
    ) -> torch.Tensor:
        """Attention of each text's first token, as `Packing` says."""
        query, key, value = (part.view(-1, part.shape[-1] // size, size) for part in (query, key, value))
        return self._attend(query, key, value, self._one_each, self._texts, dropout, size**-0.5).flatten(1)[:, None]

    @cached_property
    def _one_each(self) -> Texts:
        return Texts(np.ones(len(self.first), dtype=np.int64), self.first.device)


def flash_attention(  # noqa: PLR0917 - as `Attend` says
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    texts: Texts,
    of_keys: Texts,
    dropout: float,
    scale: float,
) -> torch.Tensor:
    """`Attend` by PyTorch's kernels for NVIDIA GPUs from Ampere on; gradients have the same bits each time."""
    attended: torch.Tensor = _Flash.apply(query, key, value, texts, of_keys, dropout, scale)  # type: ignore[no-untyped-call]
    return attended


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd knows no names
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        texts: Texts,
        of_keys: Texts,
        dropout: float,
        scale: float,
    ) -> torch.Tensor:
        ctx.lengths = (texts.ends, of_keys.ends, texts.longest, of_keys.longest, dropout, False)
        ctx.scale = scale
        found: torch.Tensor
        found, sums, *random, _ = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - see the top
            query, key, value, *ctx.lengths, False, scale=scale
        )
        ctx.save_for_backward(query, key, value, found, sums, *random)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *tensors, seed, offset = ctx.saved_tensors
        with _deterministic():
            gradients = torch.ops.aten._flash_attention_backward(  # noqa: SLF001
                gradient, *tensors, *ctx.lengths, seed, offset, scale=ctx.scale
            )
        return (*gradients, None, None, None, None)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Flash attention adds up gradients in a fixed order, which it does only while PyTorch is asked for it everywhere.

    So only for this one operator: others would refuse, or become slow.
    """
    memory: Any = torch.utils.deterministic
    mode, filled = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = filled
