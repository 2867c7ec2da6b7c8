"""monoT5: how sure a sequence-to-sequence model is that a passage is relevant.

Nogueira, Jiang, Pradeep and Lin, Findings of EMNLP 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.score.published_t5 import require_pointwise
from pyserini_tasb.score.seq2seq import PROMPTS_AT_ONCE, PromptedT5

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.score.pair_scorer import ScoringOptions
    from pyserini_tasb.texts.by_index import Texts

WORDS = ("Query:", "Document:", "Relevant:")


class MonoT5Scorer:
    """A monoT5; its score is the logarithm of the probability of "true", where "false" is all else that is possible.

    Args:
        card: which model it is.
        folder: where it is.
        options: how to compute.

    Raises:
        TasbError: as of `PromptedT5`, or the model is a duoT5.
    """

    def __init__(self, card: EncoderCard, folder: Path, options: ScoringOptions) -> None:
        require_pointwise(card.model)
        self._model = PromptedT5(card, folder, WORDS, options)

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """As of `PairScorer`. In memory are the tokens of 8,192 pairs."""
        scores = np.empty(len(query_rows), dtype=np.float32)
        for start in range(0, len(query_rows), PROMPTS_AT_ONCE):
            block = slice(start, start + PROMPTS_AT_ONCE)
            query_of_pair = self._tokenised(queries, query_rows[block])
            passage_of_pair = self._tokenised(passages, passage_rows[block])
            prompts = map(self._model.prompt.around, query_of_pair, passage_of_pair)
            # As log-softmax gives it, where that would round to 0: scores of what is surely relevant stay apart.
            scores[block] = -np.logaddexp(0, -self._model.log_odds(list(prompts)))
        return scores

    def _tokenised(self, texts: Texts, rows: NDArray[np.int64]) -> list[list[int]]:
        """Token ids of the texts at `rows`, each tokenised once."""
        distinct, number = np.unique(rows, return_inverse=True)
        token_ids = self._model.prompt.tokenise(texts.texts(distinct))
        return [token_ids[position] for position in number]
