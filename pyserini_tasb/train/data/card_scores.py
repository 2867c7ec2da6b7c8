"""Score (query, passage) pairs with the encoder that a card names: the dot product of their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.train.data.texts import Texts

TEXTS_PER_BLOCK = 1_024
PAIRS_PER_PRODUCT = 4_096


class CardScorer:
    """A named bi-encoder as the teacher of pairs.

    Args:
        encoder: what `--encoder` takes: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        device: `cpu`, `cuda:0`, …; by default a GPU if torch has one.

    Raises:
        TasbError: no such encoder, or its weights are not here.
    """

    def __init__(self, encoder: str, device: str | None = None) -> None:
        import torch

        from pyserini_tasb.encode.text_encoder import TextEncoder
        from pyserini_tasb.recipes import encoder_card

        self._card = encoder_card(encoder)
        self._encoder = TextEncoder(self._card, device or ("cuda:0" if torch.cuda.is_available() else "cpu"))

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Scores [pairs], in fp32, of query `query_rows[i]` with passage `passage_rows[i]`.

        Each query and passage that occurs is encoded once. In memory are the vectors of all these queries, of one
        block of passages, and some 30 bytes for each pair.

        Args:
            queries: texts of queries.
            passages: texts of passages.
            query_rows: [pairs] indices into `queries`.
            passage_rows: [pairs] indices into `passages`.
        """
        distinct, query_of_pair = np.unique(query_rows, return_inverse=True)
        vectors = np.empty((len(distinct), self._encoder.dimension), dtype=np.float32)
        for start, texts in _blocks(queries, distinct, "queries"):
            vectors[start : start + len(texts)] = self._encoder.encode(
                [self._card.query_prefix + text for text in texts], max_length=self._card.query_max_length
            )
        by_passage = np.argsort(passage_rows, kind="stable")
        distinct, first_pair = np.unique(passage_rows[by_passage], return_index=True)
        first_pair = np.append(first_pair, len(by_passage))
        scores = np.empty(len(passage_rows), dtype=np.float32)
        for start, texts in _blocks(passages, distinct, "passages"):
            block = self._encoder.encode(
                [self._card.passage_prefix + text for text in texts], max_length=self._card.passage_max_length
            )
            for first in range(first_pair[start], first_pair[start + len(texts)], PAIRS_PER_PRODUCT):
                pairs = by_passage[first : min(first + PAIRS_PER_PRODUCT, first_pair[start + len(texts)])]
                passage_of_pair = np.searchsorted(distinct, passage_rows[pairs]) - start
                scores[pairs] = np.einsum("ij,ij->i", vectors[query_of_pair[pairs]], block[passage_of_pair])
        return scores


def _blocks(texts: Texts, rows: NDArray[np.int64], what: str) -> Iterator[tuple[int, list[str]]]:
    """Each block's position in `rows`, and its texts."""
    from tqdm import tqdm

    with tqdm(total=len(rows), desc=f"encode {what}", unit=f" {what}", mininterval=1.0) as progress:
        for start in range(0, len(rows), TEXTS_PER_BLOCK):
            block = texts.texts(rows[start : start + TEXTS_PER_BLOCK])
            yield start, block
            progress.update(len(block))
