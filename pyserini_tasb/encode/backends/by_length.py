"""A model's vectors of any number of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.encode.padding import padded_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
