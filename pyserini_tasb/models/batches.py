"""Batches of texts of similar length, their token ids as one rectangle, and a model's vectors of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from numpy.typing import NDArray


def batches_by_length(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Cut texts into batches, longest first, each of at most `tokens_per_batch` tokens with its padding.

    Longest first, so that a batch that does not fit in memory fails at the start.

    Args:
        lengths: tokens of each text.
        tokens_per_batch: the budget, padding included; a single text may exceed it.

    Yields:
        Positions into `lengths`; together they are a permutation of all positions.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens_per_batch // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


# --------
# Token ids of several texts as one rectangle.


def padded_arrays(token_ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask [texts, longest], padded on the right: the CLS vector is read at position 0."""
    longest = max(map(len, token_ids))
    ids = np.full((len(token_ids), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(token_ids):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def padded(token_ids: Sequence[Sequence[int]], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """As `padded_arrays`, as tensors on `device`."""
    import torch

    ids, mask = padded_arrays(token_ids, pad_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


# --------
# A model's vectors of any number of texts.


class Computes(Protocol):
    """The part of a `Model` that is needed here."""

    @property
    def tokens_per_batch(self) -> int: ...

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]: ...


def vectors_by_length(
    model: Computes, token_ids: Sequence[Sequence[int]], *, pad_id: int, dimension: int
) -> NDArray[np.float32]:
    """Vectors [texts, dimension], row i for text i, computed in batches of texts of similar length.

    Args:
        model: a `Model`, or a graph alone.
        token_ids: of each text, special tokens included.
        pad_id: the id of padding.
        dimension: the length of a vector.
    """
    vectors = np.empty((len(token_ids), dimension), dtype=np.float32)
    for batch in batches_by_length([len(ids) for ids in token_ids], model.tokens_per_batch):
        vectors[batch] = model.vectors(*padded_arrays([token_ids[position] for position in batch], pad_id))
    return vectors
