"""Batches on their way to a model: a GPU is given the next ones while it computes one; a CPU gets one at a time.

A GPU does what it is told in that order, and Python need not wait for it: it prepares the next batches meanwhile, and
takes the vectors of earlier ones. Token ids and vectors are copied in the same order; they are a few MB a batch, which
takes a hundredth of the time of computing it. Copies that Python need not wait for take memory that the system keeps in
place (pinned memory), which torch lends out and takes back.

What waits all the same is a model of transformers that does not pack texts: it looks once a batch whether anything is
padding. The next batch is then handed over as soon as the GPU has done the one before, and there is still the time of a
batch for all that Python does.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.tokenizers import batches_by_length, joined, padded_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from pyserini_tasb.models.backends import Model

LOG = logging.getLogger(__name__)

Key = TypeVar("Key")
# Batches that wait on a GPU behind the one that it computes. There is enough to do while Python fetches a unit's tokens
# or writes its vectors, and only vectors take memory: activations of a batch are freed before the next one needs them.
AHEAD = 4
# A sample that is computed in both ways before the queue is used: tokens of its texts, and how far vectors may differ,
# as a share of the largest number in them. In bf16, kernels for other shapes differ by about 0.01.
SAMPLE_LENGTHS, SAMPLE_TOLERANCE = (5, 3, 1), 0.05


class BatchQueue(Protocol):
    """The place where a model's batches are handed over."""

    @property
    def ahead(self) -> int:
        """The number of batches to hand over before the vectors of the first are asked for."""

    def begin(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> Callable[[], NDArray[np.float32]]:
        """Hand over a batch. What is returned waits for its vectors [texts, dimension].

        Args:
            token_ids: the token ids of all texts, one text after the other, special tokens included.
            lengths: [texts] in tokens.
        """


class OneByOne:
    """Computes each batch when it is handed over: all that a model needs for it is `vectors`.

    Args:
        model: a `Model`, or only a graph.
        pad_id: the id of padding.
        dimension: the length of a vector.
    """

    ahead = 0

    def __init__(self, model: Computes, pad_id: int, dimension: int) -> None:
        self._model, self._pad_id, self._dimension = model, pad_id, dimension

    def begin(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> Callable[[], NDArray[np.float32]]:
        """Compute a batch, as `BatchQueue` says.

        Raises:
            TasbError: a back end from outside gives an array of another shape.
        """
        vectors = self._model.vectors(*padded_arrays(token_ids, lengths, self._pad_id))
        wanted = (len(lengths), self._dimension)
        if np.shape(vectors) != wanted:  # NumPy would broadcast it
            raise TasbError(
                expected=f"vectors of shape {wanted} from the back end",
                found=str(np.shape(vectors)),
                do="fix the back end (docs/extend.md)",
            )
        return lambda: vectors


class Computes(Protocol):
    """The part of a `Model` that is needed here."""

    @property
    def tokens_per_batch(self) -> int:
        """The budget of a batch, padding included."""

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens]."""


class TorchQueue:
    """Hands batches to a module of torch without waiting for it, if it is on a GPU.

    Args:
        module: gives vectors [texts, dimension] of token ids and mask [texts, tokens].
        device: the module's device.
        pad_id: the id of padding.
        packs: whether the module packs texts; then it reads padded ones on the CPU, and copies them itself.
    """

    ahead = AHEAD

    def __init__(self, module: torch.nn.Module, device: str, pad_id: int, *, packs: bool = False) -> None:
        import torch

        self._module, self._device, self._pad_id = module, torch.device(device), pad_id
        self._on_gpu = self._device.type == "cuda"
        self._packs = packs

    def begin(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> Callable[[], NDArray[np.float32]]:
        """Hand over a batch, as `BatchQueue` says."""
        import torch

        with torch.inference_mode():
            if self._packs:
                ids, mask = map(torch.from_numpy, padded_arrays(token_ids, lengths, self._pad_id))
            else:
                ids, mask = self._padded_there(token_ids, lengths)
            return self._back(self._module(ids, mask))

    def _padded_there(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask [texts, longest]. Padding is added on the device: fewer bytes are copied."""
        import torch

        columns = torch.arange(int(lengths.max()), device=self._device)
        mask = columns < self._there(lengths.astype(np.int32))[:, None]
        ids = torch.full(mask.shape, self._pad_id, dtype=torch.int64, device=self._device)
        ids.masked_scatter_(mask, self._there(token_ids).long())
        return ids, mask.long()

    def _there(self, values: NDArray[np.int32]) -> torch.Tensor:
        import torch

        here = torch.from_numpy(values)
        # torch keeps the pinned copy until the GPU has read it, and lends the same memory out again then.
        return here.pin_memory().to(self._device, non_blocking=True) if self._on_gpu else here

    def _back(self, vectors: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        import torch

        if not self._on_gpu:
            return vectors.numpy
        here = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        here.copy_(vectors, non_blocking=True)
        # Blocking: who waits leaves the core to the processes that tokenise.
        copied: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(self._device))

        def wait() -> NDArray[np.float32]:
            copied.synchronize()
            found: NDArray[np.float32] = here.numpy()
            return found

        return wait


def queue_of(model: Model, pad_id: int) -> BatchQueue:
    """The queue of a model: its own, if it has one that gives the vectors of `vectors`; otherwise `OneByOne`.

    Args:
        model: the model. A method `queue(pad_id)` is optional; it returns a `BatchQueue`, or None.
        pad_id: the id of padding.
    """
    one_by_one = OneByOne(model, pad_id, model.dimension)
    make = getattr(model, "queue", None)
    own: BatchQueue | None = make(pad_id) if make else None
    if own is None:
        return one_by_one
    reason = _difference(own, one_by_one)
    if reason:
        LOG.warning("batches are computed one after the other, which may be slower: %s", reason)
    return one_by_one if reason else own


def _difference(queue: BatchQueue, expected: OneByOne) -> str:
    """The fault of a queue's vectors; empty if they are as expected."""
    lengths = np.array(SAMPLE_LENGTHS)
    token_ids = np.arange(lengths.sum(), dtype=np.int32) % int(lengths.max())
    try:
        waiting = [queue.begin(token_ids, lengths) for _ in range(2)]  # the second one finds the memory of the first
        found = [wait() for wait in waiting]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other way works
        return f"the queue failed ({str(error).partition(chr(10))[0]})"
    wanted = expected.begin(token_ids, lengths)()
    tolerance = SAMPLE_TOLERANCE * float(np.abs(wanted).max())
    if all(np.shape(each) == wanted.shape and np.allclose(each, wanted, rtol=0, atol=tolerance) for each in found):
        return ""
    return "the queue gave other vectors"


def in_turn(
    begun: Iterable[tuple[Key, Callable[[], NDArray[np.float32]]]], ahead: int
) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """The vectors of batches in their order, while up to `ahead` more are handed over.

    Args:
        begun: something of the caller's about each batch, and what `BatchQueue.begin` returned for it.
        ahead: the number of batches to hand over before the vectors of the first are asked for.
    """
    waiting: deque[tuple[Key, Callable[[], NDArray[np.float32]]]] = deque()
    for each in begun:
        waiting.append(each)
        if len(waiting) > ahead:
            key, vectors = waiting.popleft()
            yield key, vectors()
    for key, vectors in waiting:
        yield key, vectors()


def vectors_by_length(
    model: Computes,
    token_ids: Sequence[Sequence[int]],
    *,
    pad_id: int,
    dimension: int,
    queue: BatchQueue | None = None,
) -> NDArray[np.float32]:
    """Vectors [texts, dimension], row i for text i, computed in batches of texts of similar length.

    Args:
        model: a `Model`, or only a graph.
        token_ids: the token ids of each text, special tokens included.
        pad_id: the id of padding.
        dimension: the length of a vector.
        queue: the model's queue; by default one batch is computed after the other.
    """
    queue = queue or OneByOne(model, pad_id, dimension)
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    begun = (
        (batch, queue.begin(joined([token_ids[row] for row in batch]), lengths[batch]))
        for batch in batches_by_length(lengths, model.tokens_per_batch)
    )
    vectors = np.empty((len(token_ids), dimension), dtype=np.float32)
    for batch, found in in_turn(begun, queue.ahead):
        vectors[batch] = found
    return vectors
