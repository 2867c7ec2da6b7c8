"""monoT5 and duoT5 as scorers: a prompt, and the odds of the word with which it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.t5 import Prompt, answers_of, load_seq2seq_reranker, require_pairwise, require_pointwise
from pyserini_tasb.models.tokenizers import batches_by_length, load_tokenizer, padded, require_vocabulary
from pyserini_tasb.reranking.transformer_scorers import scoring_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pyserini_tasb.formats.text_store import Texts
    from pyserini_tasb.recipes.types import EncoderCard
    from pyserini_tasb.reranking.scorers import ScoringOptions


PROMPTS_AT_ONCE = 8_192  # tokenised and sorted by length together
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
MAX_LENGTH = 512  # T5 knows no positions but relative ones: --max-length may be more
WORD = "▁{}"  # as SentencePiece writes one that follows a space
MONO_WORDS = ("Query:", "Document:", "Relevant:")
DUO_WORDS = ("Query:", "Document0:", "Document1:", "Relevant:")


class MonoT5Scorer:
    """A monoT5; its score is the logarithm of the probability of "true", where "false" is all else that is possible.

    Nogueira, Jiang, Pradeep and Lin, Findings of EMNLP 2020.

    Args:
        card: which model it is.
        folder: where it is.
        options: how to compute.

    Raises:
        TasbError: see `PromptedT5`, or the model is a duoT5.
    """

    def __init__(self, card: EncoderCard, folder: Path, options: ScoringOptions) -> None:
        require_pointwise(card.model)
        self._model = PromptedT5(card, folder, MONO_WORDS, options)

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `PairScorer`. In memory are the tokens of 8,192 pairs."""
        scores = np.empty(len(query_rows), dtype=np.float32)
        with scoring_bar(len(query_rows)) as progress:
            for start in range(0, len(query_rows), PROMPTS_AT_ONCE):
                block = slice(start, start + PROMPTS_AT_ONCE)
                query_of_pair = self._tokenised(queries, query_rows[block])
                passage_of_pair = self._tokenised(passages, passage_rows[block])
                prompts = map(self._model.prompt.around, query_of_pair, passage_of_pair)
                # As log-softmax gives it, where that would round to 0: scores of what is surely relevant stay apart.
                scores[block] = -np.logaddexp(0, -self._model.log_odds(list(prompts), progress))
        return scores

    def _tokenised(self, texts: Texts, rows: NDArray[np.int64]) -> list[list[int]]:
        """Token ids of the texts at `rows`, each tokenised once."""
        distinct, number = np.unique(rows, return_inverse=True)
        token_ids = self._model.prompt.tokenise(texts.texts(distinct))
        return [token_ids[position] for position in number]


class DuoT5Scorer:
    """A duoT5: of n passages, n (n - 1) comparisons, as p(i, j) and 1 - p(j, i) are not the same.

    Pradeep, Nogueira and Lin 2021, arXiv:2101.05667.

    Args:
        card: which model it is.
        folder: where it is.
        options: how to compute.
        aggregation: a key of `AGGREGATIONS`.

    Raises:
        TasbError: see `PromptedT5`, or the model is a monoT5.
    """

    def __init__(self, card: EncoderCard, folder: Path, options: ScoringOptions, aggregation: str) -> None:
        require_pairwise(card.model)
        self._model = PromptedT5(card, folder, DUO_WORDS, options)
        self._aggregation = aggregation

    def score_list(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """See `ListScorer`. In memory are the tokens of 8,192 comparisons."""
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


Comparisons = NDArray[np.float64]
"""[passages, others] the log-odds of p(i, j), of each passage with each of the others in their order."""


def aggregate(method: str, log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores [passages] in fp32, from comparisons of every two passages.

    p(i, j) is the probability that passage i is more relevant than passage j, when i was read first. `sum`, `binary`,
    `min` and `max` are those of duoBERT (Nogueira et al. 2019, arXiv:1910.14424), the others those of duoT5.

    Args:
        method: a key of `AGGREGATIONS`.
        log_odds: [passages, passages] of p(i, j); the diagonal is not looked at.
    """
    passages = len(log_odds)
    if passages < 2:
        return np.zeros(passages, dtype=np.float32)  # compared with nothing
    others = ~np.eye(passages, dtype=bool)
    first, second = (table[others].reshape(passages, -1) for table in (log_odds, log_odds.T))
    scores = AGGREGATIONS[method](first.astype(np.float64), second.astype(np.float64))
    return scores.astype(np.float32)


def _log_probability(log_odds: Comparisons) -> Comparisons:
    log_probability: Comparisons = -np.logaddexp(0, -log_odds)
    return log_probability


def _probability(log_odds: Comparisons) -> Comparisons:
    probability: Comparisons = np.exp(_log_probability(log_odds))
    return probability


AGGREGATIONS: dict[str, Callable[[Comparisons, Comparisons], Comparisons]] = {
    "sym-sum": lambda first, second: (_probability(first) + _probability(-second)).sum(axis=1),
    "sym-sum-log": lambda first, second: (_log_probability(first) + _log_probability(-second)).sum(axis=1),
    "sum": lambda first, _: _probability(first).sum(axis=1),
    "sum-log": lambda first, _: _log_probability(first).sum(axis=1),
    "binary": lambda first, _: (first > 0).sum(axis=1),
    "min": lambda first, _: _probability(first).min(axis=1),
    "max": lambda first, _: _probability(first).max(axis=1),
}
"""Scores [passages] from the log-odds of p(i, j), and of p(j, i), of passage i with each other j."""


class PromptedT5:
    """A T5 with its tokenizer and its prompt.

    Args:
        card: which model it is.
        folder: where it is.
        words: the words of the prompt, as `Prompt` takes them.
        options: how to compute.

    Raises:
        TasbError: config.json, weights and tokenizer do not fit together, or a word to answer with is no token.
    """

    def __init__(self, card: EncoderCard, folder: Path, words: Sequence[str], options: ScoringOptions) -> None:
        self._device = options.found_device
        self._tokenizer: Any = load_tokenizer(folder)
        negative, positive = (
            _token_id(self._tokenizer, answer, folder) for answer in options.answers or answers_of(card.model)
        )
        kind = compute_type(options.precision or "fp32", self._device)
        model = load_seq2seq_reranker(folder, negative, positive, kind, allow_bin=card.allow_bin)
        require_vocabulary(self._tokenizer, model.transformer, str(folder))
        self._model = model.to(self._device)
        self.prompt = Prompt(self._tokenizer, words, options.max_length or MAX_LENGTH, str(folder))

    def log_odds(self, prompts: Sequence[Sequence[int]], progress: Any = None) -> NDArray[np.float32]:
        """Log-odds [prompts] of "relevant", in fp32.

        Args:
            prompts: token ids of each.
            progress: a bar that advances with each batch.
        """
        log_odds = np.empty(len(prompts), dtype=np.float32)
        budget = TOKENS_PER_BATCH[torch.device(self._device).type]
        pad_id = int(self._tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in prompts], budget):
                ids, mask = padded([prompts[position] for position in batch], pad_id, self._device)
                log_odds[batch] = self._model(ids, mask).cpu().numpy()
                if progress is not None:
                    progress.update(len(batch))
        return log_odds


def _token_id(tokenizer: Any, answer: str, folder: Path) -> int:
    token = WORD.format(answer)
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise TasbError(
            where=str(folder),
            expected=f"a vocabulary with the token `{token}`, for the answer `{answer}`",
            found="no such token",
            do=f"give the two words that this model answers with: {argument('answers', ('FALSE', 'TRUE'))}",
        )
    return int(found)
