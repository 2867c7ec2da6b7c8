"""Score (query, passage) pairs with the encoder that a card names: the dot product of their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.encode.text_encoder import TextEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.score.pair_scorer import ScoringOptions
    from pyserini_tasb.texts.by_index import Texts

TEXTS_PER_BLOCK = 1_024
PAIRS_PER_PRODUCT = 4_096


class BiEncoderScorer:
    """A bi-encoder that scores pairs.

    Args:
        card: which model, and how it pools.
        options: how to compute.
    """

    def __init__(self, card: EncoderCard, options: ScoringOptions) -> None:
        if options.precision is not None:
            card = card.model_copy(update={"precision": options.precision})
        self._encoder = TextEncoder(card, options.found_device)
        self._card = card
        self._query_max_length = options.query_max_length or card.query_max_length
        self._passage_max_length = options.max_length or card.passage_max_length

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """As of `PairScorer`.

        Each query and passage that occurs is encoded once a call. In memory are the vectors of all these queries, of
        one block of passages, and some 30 bytes for each pair.
        """
        distinct, query_of_pair = np.unique(query_rows, return_inverse=True)
        vectors = np.empty((len(distinct), self._encoder.dimension), dtype=np.float32)
        for start, texts in _blocks(queries, distinct, "queries"):
            vectors[start : start + len(texts)] = self._encoder.encode(
                [self._card.query_prefix + text for text in texts], max_length=self._query_max_length
            )
        by_passage = np.argsort(passage_rows, kind="stable")
        distinct, first_pair = np.unique(passage_rows[by_passage], return_index=True)
        first_pair = np.append(first_pair, len(by_passage))
        scores = np.empty(len(passage_rows), dtype=np.float32)
        for start, texts in _blocks(passages, distinct, "passages"):
            block = self._encoder.encode(
                [self._card.passage_prefix + text for text in texts], max_length=self._passage_max_length
            )
            for first in range(first_pair[start], first_pair[start + len(texts)], PAIRS_PER_PRODUCT):
                pairs = by_passage[first : min(first + PAIRS_PER_PRODUCT, first_pair[start + len(texts)])]
                passage_of_pair = np.searchsorted(distinct, passage_rows[pairs]) - start
                scores[pairs] = np.einsum("ij,ij->i", vectors[query_of_pair[pairs]], block[passage_of_pair])
        return scores


def _blocks(texts: Texts, rows: NDArray[np.int64], what: str) -> Iterator[tuple[int, list[str]]]:
    """Each block's position in `rows`, and its texts."""
    from tqdm import tqdm

    # One block is done before a bar is worth drawing: re-ranking comes here for every query.
    short = len(rows) <= TEXTS_PER_BLOCK
    with tqdm(total=len(rows), desc=f"encode {what}", unit=f" {what}", mininterval=1.0, disable=short) as progress:
        for start in range(0, len(rows), TEXTS_PER_BLOCK):
            block = texts.texts(rows[start : start + TEXTS_PER_BLOCK])
            yield start, block
            progress.update(len(block))
