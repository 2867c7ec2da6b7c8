"""From ids in a source of pairs to texts that can be trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.texts.byte_spans import Spans
    from pyserini_tasb.texts.text_store import TextStore


class TextLookup:
    """Indices of the texts of a store that are not empty.

    Args:
        store: the texts.
    """

    def __init__(self, store: TextStore) -> None:
        self._store = store
        self._empty = store.without_text()

    def indices(self, ids: Sequence[str] | Spans) -> NDArray[np.int64]:
        """The index of each id, -1 where there is no text."""
        indices = self._store.indices(ids)
        # An index of -1 reads the last mark, and is -1 afterwards in any case.
        return np.where(self._empty[indices], -1, indices) if len(self._empty) else indices
