"""What a model makes of a batch in chunks, and the way back through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.train.on_cpu.dropout import seed_cpu_dropout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.run_config import RunConfig

# Measured with MiniLM on 2 cores: smaller chunks have less padding, larger ones use the hardware better.
TOKENS_PER_FORWARD = {"cpu": 2_048, "cuda": 32_768}
PACKED_TOKENS_PER_FORWARD = 16_384
Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class Learner(Protocol[Item_contra]):
    """A model in training, and what it computes of an item: a text's vector, a pair's score."""

    @property
    def device(self) -> str:
        """`cpu`, `cuda:0`, …"""

    @property
    def packed(self) -> bool:
        """Whether it computes without padding."""

    def length(self, item: Item_contra) -> int:
        """Tokens of an item."""

    def outputs(self, items: Sequence[Item_contra]) -> torch.Tensor:
        """[items, …] in fp32, with their graph if gradients are on."""

    def autocast(self) -> torch.autocast:
        """Reduced precision for what is computed inside."""


class Encoded(Generic[Item]):
    """Items encoded in chunks of similar length, whose outputs can be back-propagated through.

    With `cached`, no chunk keeps its activations: the way back encodes each chunk again, with the same dropout, so
    that memory is one chunk's whatever the batch (GradCache; Gao et al., 2021, arXiv 2101.06983).

    Args:
        learner: the model.
        items: every chunk holds at most `tokens_per_forward` of their tokens, with what would be padding.
        tokens_per_forward: see above.
        cached: see above.
        seed: of the dropout; the same in both passes.
    """

    def __init__(
        self, learner: Learner[Item], items: Sequence[Item], *, tokens_per_forward: int, cached: bool, seed: int
    ) -> None:
        self._learner, self._items, self._cached, self._seed = learner, items, cached, seed
        lengths = [learner.length(item) for item in items]
        self._chunks = list(batches_by_length(lengths, tokens_per_forward))
        self.tokens = sum(lengths)
        self.tokens_with_padding = self.tokens
        if not learner.packed:
            self.tokens_with_padding = sum(len(chunk) * lengths[chunk[0]] for chunk in self._chunks)  # longest first
        with torch.set_grad_enabled(not cached), learner.autocast():
            parts = torch.cat([self._encode(number) for number in range(len(self._chunks))])
        order = torch.cat([torch.from_numpy(chunk) for chunk in self._chunks])
        self._graph = parts[torch.argsort(order)]
        self.outputs = self._graph.detach().requires_grad_()

    def backward(self) -> None:
        """Add to the model's gradients what `outputs.grad` says."""
        gradient = self.outputs.grad
        if gradient is None:  # a loss that no output has a part in
            return
        if not self._cached:
            self._graph.backward(gradient)  # type: ignore[no-untyped-call]
            return
        for number, chunk in enumerate(self._chunks):
            with self._learner.autocast():
                outputs = self._encode(number)
            outputs.backward(gradient[torch.from_numpy(chunk)])  # type: ignore[no-untyped-call]

    def _encode(self, number: int) -> torch.Tensor:
        # A chunk's dropout depends on nothing that came before it, so nothing of it has to be saved and restored.
        torch.manual_seed(self._seed + number)
        seed_cpu_dropout(self._seed + number)
        return self._learner.outputs([self._items[position] for position in self._chunks[number]])


def tokens_per_forward(config: RunConfig, learner: Learner[Any]) -> int:
    """The configured chunk, or the device's usual one."""
    usual = PACKED_TOKENS_PER_FORWARD if learner.packed else TOKENS_PER_FORWARD[torch.device(learner.device).type]
    return config.tokens_per_forward or usual
