"""What monoT5 and duoT5 have in common: a prompt, and the odds of the word with which it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.encode.padding import padded
from pyserini_tasb.encode.precision import compute_type
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.seq2seq_reranker import load_seq2seq_reranker
from pyserini_tasb.model.tokenizer import load_tokenizer, require_vocabulary
from pyserini_tasb.score.prompt import Prompt
from pyserini_tasb.score.published_t5 import answers_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.score.pair_scorer import ScoringOptions

PROMPTS_AT_ONCE = 8_192  # tokenised and sorted by length together
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
MAX_LENGTH = 512  # T5 knows no positions but relative ones: --max-length may be more
WORD = "▁{}"  # as SentencePiece writes one that follows a space


class PromptedT5:
    """A T5 with its tokenizer and its prompt.

    Args:
        card: which model it is.
        folder: where it is.
        words: of the prompt, as `Prompt` takes them.
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

    def log_odds(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Log-odds [prompts] of "relevant", in fp32.

        Args:
            prompts: token ids of each.
        """
        log_odds = np.empty(len(prompts), dtype=np.float32)
        budget = TOKENS_PER_BATCH[torch.device(self._device).type]
        pad_id = int(self._tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in prompts], budget):
                ids, mask = padded([prompts[position] for position in batch], pad_id, self._device)
                log_odds[batch] = self._model(ids, mask).cpu().numpy()
        return log_odds


def _token_id(tokenizer: Any, answer: str, folder: Path) -> int:
    token = WORD.format(answer)
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise TasbError(
            where=str(folder),
            expected=f"a vocabulary with the token `{token}`, as a model has that answers with `{answer}`",
            found="none such",
            do="say with --answers FALSE TRUE which words this model was trained to answer with",
        )
    return int(found)
