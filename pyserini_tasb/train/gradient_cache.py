"""Vectors of a batch that is encoded in chunks, and the way back through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.train.cpu_dropout import seed_cpu_dropout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.student import Student


class EncodedTexts:
    """Texts encoded in chunks of similar length, whose vectors can be back-propagated through.

    With `cached`, no chunk keeps its activations: the way back encodes each chunk again, with the same dropout, so
    that memory is one chunk's whatever the batch (GradCache; Gao et al., 2021, arXiv 2101.06983).

    Args:
        student: the model.
        token_ids: the texts; every chunk holds at most `tokens_per_forward` of their tokens, with padding.
        tokens_per_forward: see above.
        cached: see above.
        seed: of the dropout; the same in both passes.
    """

    def __init__(
        self, student: Student, token_ids: Sequence[Sequence[int]], *, tokens_per_forward: int, cached: bool, seed: int
    ) -> None:
        self._student, self._token_ids, self._cached, self._seed = student, token_ids, cached, seed
        lengths = [len(ids) for ids in token_ids]
        self._chunks = list(batches_by_length(lengths, tokens_per_forward))
        self.tokens = sum(lengths)
        self.tokens_with_padding = sum(len(chunk) * lengths[chunk[0]] for chunk in self._chunks)  # longest first
        with torch.set_grad_enabled(not cached), student.autocast():
            parts = torch.cat([self._encode(number) for number in range(len(self._chunks))])
        order = torch.cat([torch.from_numpy(chunk) for chunk in self._chunks])
        self._graph = parts[torch.argsort(order)]
        self.vectors = self._graph.detach().requires_grad_()

    def backward(self) -> None:
        """Add to the model's gradients what `vectors.grad` says."""
        gradient = self.vectors.grad
        if gradient is None:  # a loss that no vector has a part in
            return
        if not self._cached:
            self._graph.backward(gradient)  # type: ignore[no-untyped-call]
            return
        for number, chunk in enumerate(self._chunks):
            with self._student.autocast():
                vectors = self._encode(number)
            vectors.backward(gradient[torch.from_numpy(chunk)])  # type: ignore[no-untyped-call]

    def _encode(self, number: int) -> torch.Tensor:
        # A chunk's dropout depends on nothing that came before it, so nothing of it has to be saved and restored.
        torch.manual_seed(self._seed + number)
        seed_cpu_dropout(self._seed + number)
        return self._student.vectors([self._token_ids[position] for position in self._chunks[number]])
