"""Scoring window by window, each on the disk before the next begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.score.pair_scorer import PairScorer
    from pyserini_tasb.texts.by_index import Texts
    from pyserini_tasb.train.data.scoring.pair_table import PairTable
    from pyserini_tasb.train.data.scoring.score_part import ScorePart

# As many as a cross-encoder sorts by length together: on a CPU these are minutes, on a GPU a few seconds.
PAIRS_PER_WINDOW = 8_192


def score_windows(scorer: PairScorer, queries: Texts, passages: Texts, table: PairTable, part: ScorePart) -> None:
    """Score the distinct pairs that the part lacks.

    Windows are cut in the same places whenever it is called: what is padded and multiplied together can change the
    last bits of a score.

    Args:
        scorer: the model.
        queries: texts of the table's queries.
        passages: texts of its passages.
        table: the pairs.
        part: gets the scores.

    Raises:
        TasbError: a score is not finite, or the disk refuses.
    """
    total = len(table.distinct)
    with tqdm(total=total, initial=part.count, desc="score", unit=" pairs", mininterval=1.0) as progress:
        while part.count < total:
            window = slice(part.count, min(part.count + PAIRS_PER_WINDOW, total))
            scores = scorer.score_pairs(queries, passages, table.query_rows(window), table.passage_rows(window))
            _require_finite(scores, window.start, table)
            part.append(scores)
            progress.update(len(scores))


def _require_finite(scores: NDArray[np.float32], start: int, table: PairTable) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        qid, docid = table.ids(start + int(wrong[0]))
        raise TasbError(
            expected="scores that are finite numbers",
            found=f"{scores[wrong[0]]} for query {qid}, passage {docid}; {len(wrong)} such among {len(scores)} scores",
            do="use --precision fp32; if it was fp32, the model's weights are damaged",
        )
