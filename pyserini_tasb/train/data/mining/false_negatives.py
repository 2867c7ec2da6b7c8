"""The guard against false negatives: candidates that are relevant, or too likely to be, are no negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.data.text_digest import text_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.texts.by_index import Texts


class PassageDigests:
    """Digests of the passages' texts: equal for texts that are the same apart from white space and letter case.

    A digest is computed when it is first asked for: 8 bytes are kept for each passage of the collection.

    Args:
        passages: the collection.
    """

    def __init__(self, passages: Texts) -> None:
        self._passages = passages
        self._digests = np.zeros(len(passages), dtype=np.uint64)

    def same_text(self, candidates: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[candidates] True where a candidate's text is that of one of the positives; both are passages by index."""
        return np.isin(self._of(candidates), self._of(positives))

    def _of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        new = np.unique(rows[self._digests[rows] == 0])
        self._digests[new] = [text_digest(text) for text in self._passages.texts(new)]
        return self._digests[rows]


def too_close(positives: NDArray[np.float32], negatives: NDArray[np.float32], cutoff: float) -> NDArray[np.bool_]:
    """[positives, negatives] True where the negative's score is above the positive's, or at most `cutoff` below it.

    Args:
        positives: the teacher's scores of a query's positives.
        negatives: its scores of the query's negatives.
        cutoff: in the teacher's own units; below 0, negatives may score higher than the positive by less than that.
    """
    margins = positives.astype(np.float64)[:, None] - negatives.astype(np.float64)[None, :]
    close: NDArray[np.bool_] = margins <= cutoff
    return close
