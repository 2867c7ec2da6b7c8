"""Cross-encoders and ColBERT as scorers of pairs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.bert_cat import BertCat, SequenceClassifier, load_bert_cat, load_sequence_classifier
from pyserini_tasb.models.checkpoints import kind_of
from pyserini_tasb.models.colbert import load_colbert, max_sim_of_pairs
from pyserini_tasb.models.on_gpu import device_of_inputs, prepare_for_gpu
from pyserini_tasb.models.pretrained import first_token_reads_all
from pyserini_tasb.models.tokenizers import (
    batches_by_length,
    load_tokenizer,
    longest_text,
    padded,
    require_cls_token,
    require_vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.text_store import Texts
    from pyserini_tasb.reranking.scorers import ScoringOptions


PAIRS_AT_ONCE = 8_192  # tokenised and sorted by length together
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
MAX_LENGTH = 512  # of query and passage together
PASSAGES_AT_ONCE = QUERIES_AT_ONCE = 512
PRODUCTS_AT_ONCE = 64  # of token vectors in one product
BAR_AFTER_SECONDS = 5.0
QUERY_MAX_LENGTH, PASSAGE_MAX_LENGTH = 30, 200  # the paper's; without the [MASK] tokens


def scoring_bar(pairs: int) -> Any:
    """A bar for one call of `score_pairs`: it appears if that takes a while, and goes when it ends."""
    from tqdm.auto import tqdm

    return tqdm(total=pairs, desc="scoring", unit=" pairs", delay=BAR_AFTER_SECONDS, leave=False, mininterval=1.0)


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
        prepare_for_gpu(model.transformer, kind)
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
        """See `PairScorer`. In memory are the tokens of 8,192 pairs."""
        scores = np.empty(len(query_rows), dtype=np.float32)
        with scoring_bar(len(query_rows)) as progress:
            for start in range(0, len(query_rows), PAIRS_AT_ONCE):
                block = slice(start, start + PAIRS_AT_ONCE)
                texts = queries.texts(query_rows[block]), passages.texts(passage_rows[block])
                scores[block] = self._scores(*texts, progress)
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
                do=f"raise {argument('max_length')}",
            )

    def _scores(self, queries: Sequence[str], passages: Sequence[str], progress: Any) -> NDArray[np.float32]:
        tokens = self._tokenizer(
            list(queries), list(passages), truncation=True, max_length=self._max_length, return_token_type_ids=True
        )
        token_ids, segment_ids = tokens["input_ids"], tokens["token_type_ids"]
        scores = np.empty(len(token_ids), dtype=np.float32)
        budget = TOKENS_PER_BATCH[torch.device(self._device).type]
        inputs = device_of_inputs(self._model.transformer, self._device)
        # A causal classifier finds the last token by what its configuration calls padding.
        configured = getattr(self._model.transformer.config, "pad_token_id", None)
        pad_id = int((self._tokenizer.pad_token_id or 0) if configured is None else configured)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids], budget):
                ids, mask = padded([token_ids[position] for position in batch], pad_id, inputs)
                segments = None
                if self._segments:
                    segments, _ = padded([segment_ids[position] for position in batch], 0, inputs)
                scores[batch] = self._model(ids, mask, segments).cpu().numpy()
                progress.update(len(batch))
        return scores


class ColBertScorer:
    """A ColBERT; its score is the sum, over the query's tokens, of the largest product with a token of the passage.

    Each passage is encoded once a call; a query once for every 512 passages it is paired with.

    Args:
        folder: the model.
        options: how to compute.

    Raises:
        TasbError: config.json, weights and tokenizer do not fit together.
    """

    def __init__(self, folder: Path, options: ScoringOptions) -> None:
        self.device = options.found_device
        kind = compute_type(options.precision or "fp32", self.device)
        self.model = load_colbert(folder, kind).to(self.device)
        prepare_for_gpu(self.model.transformer, kind)
        self.tokenizer: Any = load_tokenizer(folder)
        require_vocabulary(self.tokenizer, self.model.transformer, str(folder))
        require_cls_token(lambda texts: self.tokenizer(texts)["input_ids"], str(folder))
        if self.model.query_masks and self.tokenizer.mask_token_id is None:
            raise TasbError(
                where=str(folder),
                expected=f"a tokenizer with a mask token, because every query gets {self.model.query_masks}",
                found="one without",
                do="check that tokenizer and weights come from the same model",
            )
        longest = longest_text(self.tokenizer, self.model.transformer)
        self._query_max_length = min(options.query_max_length or QUERY_MAX_LENGTH, longest - self.model.query_masks)
        self._passage_max_length = min(options.max_length or PASSAGE_MAX_LENGTH, longest)

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `PairScorer`. In memory are the token vectors of 512 passages and 512 queries."""
        scores = np.empty(len(query_rows), dtype=np.float32)
        by_passage = np.argsort(passage_rows, kind="stable")
        _, first_pair = np.unique(passage_rows[by_passage], return_index=True)
        bounds = [*first_pair[::PASSAGES_AT_ONCE].tolist(), len(by_passage)]
        with scoring_bar(len(query_rows)) as progress:
            for start, end in itertools.pairwise(bounds):
                pairs = by_passage[start:end]
                some_passages, passage_of_pair = np.unique(passage_rows[pairs], return_inverse=True)
                passage_vectors = self.vectors(self._tokenise(passages.texts(some_passages), self._passage_max_length))
                all_queries, query_of_pair = np.unique(query_rows[pairs], return_inverse=True)
                for first in range(0, len(all_queries), QUERIES_AT_ONCE):
                    some_queries = all_queries[first : first + QUERIES_AT_ONCE]
                    query_vectors = self.query_vectors(
                        self._tokenise(queries.texts(some_queries), self._query_max_length)
                    )
                    theirs = np.flatnonzero((query_of_pair >= first) & (query_of_pair < first + QUERIES_AT_ONCE))
                    for some in np.split(theirs, range(PRODUCTS_AT_ONCE, len(theirs), PRODUCTS_AT_ONCE)):
                        asked = [query_vectors[number - first] for number in query_of_pair[some]]
                        found = [passage_vectors[number] for number in passage_of_pair[some]]
                        scores[pairs[some]] = max_sim_of_pairs(*rectangle(asked), *rectangle(found)).cpu().numpy()
                        progress.update(len(some))
        return scores

    def query_vectors(self, token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Vectors [tokens, dimension] of each query, its [MASK] tokens included."""
        return self.vectors([self.model.with_masks(ids, self.tokenizer.mask_token_id) for ids in token_ids])

    def vectors(self, token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Vectors [tokens, dimension] of each text, special tokens included."""
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(token_ids)
        budget = TOKENS_PER_BATCH[torch.device(self.device).type]
        inputs = device_of_inputs(self.model.transformer, self.device)
        pad_id = int(self.tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids], budget):
                ids, mask = padded([token_ids[position] for position in batch], pad_id, inputs)
                for position, text in zip(batch.tolist(), self.model(ids, mask).float(), strict=True):
                    vectors[position] = text[: len(token_ids[position])]
        return vectors

    def _tokenise(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        token_ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
        return token_ids


def rectangle(vectors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors [texts, longest, dimension] and mask [texts, longest] of texts' vectors [tokens, dimension]."""
    together = torch.nn.utils.rnn.pad_sequence(list(vectors), batch_first=True)
    lengths = torch.tensor([len(text) for text in vectors], device=together.device)
    return together, torch.arange(together.shape[1], device=together.device) < lengths[:, None]
