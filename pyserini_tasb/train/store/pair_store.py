"""Training pairs of a query, a positive and a negative passage, grouped by query, in memory-mapped arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.texts.array_files import open_array
from pyserini_tasb.texts.manifest import read_manifest
from pyserini_tasb.texts.text_store import TextStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

KIND, VERSION = "pair store", 1
Supervision = Literal["scores", "margins", "labels"]
"""What is known of a pair: the teacher's two scores, their difference only, or just which passage is relevant."""

QUERIES, PASSAGES = "queries", "passages"
PAIR_OFFSETS, POSITIVES, NEGATIVES = "pair_offsets.npy", "positives.npy", "negatives.npy"
SCORES, MARGINS = "scores.npy", "margins.npy"
KNOWN_OFFSETS, KNOWN_POSITIVES = "known_positive_offsets.npy", "known_positives.npy"


class PairStore:
    """An open pair store; `open_pair_store` makes it.

    Attributes:
        folder: where it is.
        queries: texts of the queries.
        passages: texts of the passages.
        offsets: [queries + 1]; the pairs of query i are rows offsets[i] to offsets[i+1].
        positives: [pairs] indices of passages.
        negatives: [pairs] indices of passages.
        scores: [pairs, 2] the teacher's score of the positive and of the negative; None unless supervision is scores.
        supervision: `scores`, `margins` or `labels`.
        manifest: what the builder noted: counts, sources, statistics.
        fingerprint: changes when the content does.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.fingerprint: str = manifest["fingerprint"]
        self.supervision: Supervision = manifest["supervision"]
        self.queries, self.passages = TextStore(folder / QUERIES), TextStore(folder / PASSAGES)
        self.offsets: NDArray[np.int64] = open_array(folder / PAIR_OFFSETS, np.int64)
        self.positives: NDArray[np.uint32] = open_array(folder / POSITIVES, np.uint32)
        self.negatives: NDArray[np.uint32] = open_array(folder / NEGATIVES, np.uint32)
        self.scores: NDArray[np.float32] | None = None
        self._margins: NDArray[np.float32] | None = None
        if self.supervision == "scores":
            self.scores = open_array(folder / SCORES, np.float32, dimensions=2)
        elif self.supervision == "margins":
            self._margins = open_array(folder / MARGINS, np.float32)
        self._known_offsets = open_array(folder / KNOWN_OFFSETS, np.int64)
        self._known_positives = open_array(folder / KNOWN_POSITIVES, np.uint32)
        self._require_agreement()

    def __len__(self) -> int:
        return len(self.positives)

    def __reduce__(self) -> tuple[Callable[[Path], PairStore], tuple[Path]]:
        """Sent to another process, a store is opened there again: the mapped files are shared, nothing is copied."""
        return open_pair_store, (self.folder.absolute(),)

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows: its score of the positive minus that of the negative.

        Raises:
            TasbError: the store has labels only.
        """
        if self.scores is not None:
            # `take` of chosen rows is eight times as fast as indexing them.
            scores = self.scores[rows] if isinstance(rows, slice) else self.scores.take(rows, axis=0)
            return scores[:, 0] - scores[:, 1]
        if self._margins is None:
            raise TasbError(
                where=str(self.folder),
                expected="pairs with a teacher's scores or margins",
                found="pairs with labels only",
                do="score them with a teacher first, or use a loss and a sampler that need labels alone",
            )
        return self._margins[rows]

    def known_positives(self, query: int) -> NDArray[np.uint32]:
        """Sorted distinct passages known relevant to a query: by its pairs, and by qrels given to the builder."""
        start, end = self._known_offsets[query : query + 2].tolist()
        return self._known_positives[start:end]

    def _require_agreement(self) -> None:
        pairs = len(self.positives)
        values = self.scores if self.scores is not None else self._margins
        agree = (
            len(self.offsets) == len(self._known_offsets) == len(self.queries) + 1
            and self.offsets[0] == 0
            and self.offsets[-1] == pairs == len(self.negatives)
            and (values is None or len(values) == pairs)
            and self._known_offsets[-1] == len(self._known_positives)
        )
        if not agree:
            raise TasbError(
                where=str(self.folder),
                expected="arrays of the same pairs",
                found="lengths that do not fit",
                do="the store is damaged: build it again",
            )


def open_pair_store(folder: Path) -> PairStore:
    """Open what `tasb data pairs` built. Nothing is read before it is asked for.

    Raises:
        TasbError: not a pair store, a damaged one, or one of a newer format.
    """
    return PairStore(folder, read_manifest(folder, KIND, VERSION))
