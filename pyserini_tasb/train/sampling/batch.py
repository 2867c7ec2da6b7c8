"""One training batch: texts as tokens, the teacher's scores, and what is known to be relevant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.sampling.known_positives import known_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.encode.text_tokenizer import TextTokenizer
    from pyserini_tasb.train.sampling.draw import Sampler
    from pyserini_tasb.train.store import PairStore


@dataclass(frozen=True)
class TrainingBatch:
    """A batch of b queries, each with a positive and a negative passage.

    All but the tokens is of the whole batch, in every process that trains together.

    Attributes:
        step: its number.
        queries: [b] indices of distinct queries.
        positives: [b] indices of passages.
        negatives: [b] indices of passages.
        rows: [b] rows of the pair store.
        scores: [b, 2] the teacher's scores of positive and negative; None without.
        margins: [b] the teacher's margins; None if the pairs have labels only.
        known_positives: [b, b] True where the positive of query j is known to be relevant to query i, i != j.
        known_negatives: [b, b] True where the negative of query j is known to be relevant to query i.
        query_tokens: token ids of this process's share of the queries.
        passage_tokens: token ids of the positives of that share, then of its negatives.
    """

    step: int
    queries: NDArray[np.int64]
    positives: NDArray[np.uint32]
    negatives: NDArray[np.uint32]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    margins: NDArray[np.float32] | None
    known_positives: NDArray[np.bool_]
    known_negatives: NDArray[np.bool_]
    query_tokens: list[list[int]]
    passage_tokens: list[list[int]]


@dataclass(frozen=True)
class BatchComposer:
    """Makes the batch of a step, a function of the step alone.

    Args:
        store: the pairs.
        sampler: which of them make a batch.
        query_tokenizer: for queries.
        passage_tokenizer: for passages.
        rank: this process among those that train together.
        world: how many they are; process r gets entries ⌊r·b / world⌋ to ⌊(r + 1)·b / world⌋ of a batch.
    """

    store: PairStore
    sampler: Sampler
    query_tokenizer: TextTokenizer
    passage_tokenizer: TextTokenizer
    rank: int
    world: int

    def compose(self, step: int) -> TrainingBatch:
        """The batch of `step`."""
        store, draw = self.store, self.sampler.draw(step)
        size = len(draw.queries)
        positives, negatives = store.positives[draw.rows], store.negatives[draw.rows]
        known = [store.known_positives(query) for query in draw.queries.tolist()]
        known_positives = known_mask(known, positives)
        np.fill_diagonal(known_positives, val=False)
        share = slice(self.rank * size // self.world, (self.rank + 1) * size // self.world)
        passages = np.concatenate([positives[share], negatives[share]])
        return TrainingBatch(
            step=step,
            queries=draw.queries,
            positives=positives,
            negatives=negatives,
            rows=draw.rows,
            scores=None if store.scores is None else store.scores[draw.rows],
            margins=None if store.supervision == "labels" else store.margins(draw.rows),
            known_positives=known_positives,
            known_negatives=known_mask(known, negatives),
            query_tokens=self.query_tokenizer(store.queries.texts(draw.queries[share])),
            passage_tokens=self.passage_tokenizer(store.passages.texts(passages)),
        )
