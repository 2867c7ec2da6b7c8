"""duoT5: every passage compared with every other (Pradeep et al. 2021, arXiv:2101.05667)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.score.aggregation import aggregate
from pyserini_tasb.score.published_t5 import require_pairwise
from pyserini_tasb.score.seq2seq import PROMPTS_AT_ONCE, PromptedT5

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.score.pair_scorer import ScoringOptions

WORDS = ("Query:", "Document0:", "Document1:", "Relevant:")


class DuoT5Scorer:
    """A duoT5: of n passages, n (n - 1) comparisons, as p(i, j) and 1 - p(j, i) are not the same.

    Args:
        card: which model it is.
        folder: where it is.
        options: how to compute.
        aggregation: a key of `AGGREGATIONS`.

    Raises:
        TasbError: as of `PromptedT5`, or the model is a monoT5.
    """

    def __init__(self, card: EncoderCard, folder: Path, options: ScoringOptions, aggregation: str) -> None:
        require_pairwise(card.model)
        self._model = PromptedT5(card, folder, WORDS, options)
        self._aggregation = aggregation

    def score_list(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """As of `ListScorer`. In memory are the tokens of 8,192 comparisons."""
        prompt = self._model.prompt
        (asked,) = prompt.tokenise([query])
        token_ids = prompt.tokenise(passages)
        first, second = np.nonzero(~np.eye(len(passages), dtype=bool))
        log_odds = np.zeros((len(passages), len(passages)), dtype=np.float32)
        for start in range(0, len(first), PROMPTS_AT_ONCE):
            block = slice(start, start + PROMPTS_AT_ONCE)
            prompts = [
                prompt.around(asked, token_ids[i], token_ids[j])
                for i, j in zip(first[block], second[block], strict=True)
            ]
            log_odds[first[block], second[block]] = self._model.log_odds(prompts)
        return aggregate(self._aggregation, log_odds)
