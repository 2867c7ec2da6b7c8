"""The order in which trec_eval ranks documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


def ranked_docids(ranking: Mapping[str, float]) -> list[str]:
    """Docids, best first: by score in fp32 and then docid, both descending.

    Args:
        ranking: docid → score, in any order.
    """
    with np.errstate(over="ignore"):  # what fp32 cannot hold is infinite to trec_eval, too
        scores = np.fromiter(ranking.values(), np.float64, len(ranking)).astype(np.float32)
    return [docid for _, docid in sorted(zip(scores.tolist(), ranking, strict=True), reverse=True)]
