"""Score pairs with a cross-encoder: query and passage read together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.encode.padding import padded
from pyserini_tasb.encode.precision import compute_type
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.bert_cat import BertCat, load_bert_cat
from pyserini_tasb.model.kind import kind_of
from pyserini_tasb.model.pretrained import first_token_reads_all
from pyserini_tasb.model.sequence_classifier import SequenceClassifier, load_sequence_classifier
from pyserini_tasb.model.tokenizer import load_tokenizer, longest_text, require_cls_token, require_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.score.pair_scorer import ScoringOptions
    from pyserini_tasb.texts.by_index import Texts

PAIRS_AT_ONCE = 8_192  # tokenised and sorted by length together
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
MAX_LENGTH = 512


class CrossEncoderScorer:
    """A BERT_CAT, or any sequence classifier with one or two labels.

    What is too long is cut as Hugging Face's tokenizers cut pairs: token by token from whichever is longer.

    Args:
        folder: the model.
        options: how to compute.
        allow_bin: accept weights in `pytorch_model.bin`.

    Raises:
        TasbError: config.json, weights and tokenizer do not fit together, or there are more than two labels.
    """

    def __init__(self, folder: Path, options: ScoringOptions, *, allow_bin: bool = False) -> None:
        self._device = options.found_device
        kind = compute_type(options.precision or "fp32", self._device)
        model: BertCat | SequenceClassifier
        if kind_of(folder) == "bert-cat":
            model = load_bert_cat(folder, kind)
        else:
            model = load_sequence_classifier(folder, kind, allow_bin=allow_bin)
        self._model = model.to(self._device)
        self._tokenizer: Any = load_tokenizer(folder)
        require_vocabulary(self._tokenizer, model.transformer, str(folder))
        if isinstance(model, BertCat) or self._joins_without_separator(model):
            require_cls_token(lambda texts: self._tokenizer(texts)["input_ids"], str(folder))
        self._max_length = min(options.max_length or MAX_LENGTH, longest_text(self._tokenizer, model.transformer))
        self._require_room(folder)
        self._segments = getattr(model.transformer.config, "type_vocab_size", 1) > 1

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """As of `PairScorer`. In memory are the tokens of 8,192 pairs."""
        scores = np.empty(len(query_rows), dtype=np.float32)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            block = slice(start, start + PAIRS_AT_ONCE)
            scores[block] = self._scores(queries.texts(query_rows[block]), passages.texts(passage_rows[block]))
        return scores

    def _joins_without_separator(self, model: SequenceClassifier) -> bool:
        """True if query and passage would be one text to a model that scores from its first token.

        Causal classifiers score from the last token, and may be trained on one text.
        """
        special: int = self._tokenizer.num_special_tokens_to_add(pair=True)
        return not special and first_token_reads_all(model.transformer.base_model)

    def _require_room(self, folder: Path) -> None:
        # Below what special tokens take, tokenizers cut nothing at all.
        least = self._tokenizer.num_special_tokens_to_add(pair=True) + 1
        if self._max_length < least:
            raise TasbError(
                where=str(folder),
                expected=f"at least {least} tokens for query and passage together",
                found=str(self._max_length),
                do="raise --max-length",
            )

    def _scores(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        tokens = self._tokenizer(
            list(queries), list(passages), truncation=True, max_length=self._max_length, return_token_type_ids=True
        )
        token_ids, segment_ids = tokens["input_ids"], tokens["token_type_ids"]
        scores = np.empty(len(token_ids), dtype=np.float32)
        budget = TOKENS_PER_BATCH[torch.device(self._device).type]
        # A causal classifier finds the last token by what its configuration calls padding.
        configured = getattr(self._model.transformer.config, "pad_token_id", None)
        pad_id = int((self._tokenizer.pad_token_id or 0) if configured is None else configured)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids], budget):
                ids, mask = padded([token_ids[position] for position in batch], pad_id, self._device)
                segments = None
                if self._segments:
                    segments, _ = padded([segment_ids[position] for position in batch], 0, self._device)
                scores[batch] = self._model(ids, mask, segments).cpu().numpy()
        return scores
