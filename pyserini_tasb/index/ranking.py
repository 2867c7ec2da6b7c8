"""The hits of a query as trec_eval ranks them: by score, then by docid, both descending; each docid once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """What was found for one query; 12 bytes a hit.

    Args:
        scores: [hits] inner products.
        rows: [hits] of a list of docids.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def and_more(self, others: Hits) -> Hits:
        """Both, in no order."""
        return Hits(np.append(self.scores, others.scores), np.append(self.rows, others.rows))

    def ranked(self, docids: Sequence[str], depth: int) -> Hits:
        """The best `depth`; of a docid that is there several times, the best score.

        Args:
            docids: of row i, the docid.
            depth: how many at most.
        """
        by_score = sorted(
            zip(self.scores.tolist(), [docids[row] for row in self.rows.tolist()], range(len(self)), strict=True),
            reverse=True,
        )
        seen: set[str] = set()
        kept = []
        for _, docid, position in by_score:
            if docid not in seen:
                seen.add(docid)
                kept.append(position)
                if len(kept) == depth:
                    break
        return Hits(self.scores[kept], self.rows[kept])

    def without(self, docid: str, docids: Sequence[str], depth: int) -> Hits:
        """The first `depth` hits that do not have the given docid, in their order.

        Args:
            docid: the one that is dropped.
            docids: of row i, the docid.
            depth: how many at most.
        """
        kept = [position for position, row in enumerate(self.rows.tolist()) if docids[row] != docid][:depth]
        return Hits(self.scores[kept], self.rows[kept])


NO_HITS = Hits(np.empty(0, np.float32), np.empty(0, np.int64))
