"""Training batches: texts as tokens, the teacher's scores, and what is known to be relevant."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.models.tokenizers import open_prefixed_tokenizer
from pyserini_tasb.training.composing import composed_ahead, composed_inline
from pyserini_tasb.training.sampling import list_numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.models.tokenizers import PrefixedTokenizer
    from pyserini_tasb.training.sampling import Sampler


def known_mask(known: Sequence[NDArray[np.uint32]], passages: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """True at [i, j] if passage j is known to be relevant to query i.

    Args:
        known: for each query, its relevant passages, each once.
        passages: [passages] in any order; one may be there several times.
    """
    counts = np.array([len(relevant) for relevant in known], np.int64)
    relevant, queries = np.concatenate([np.empty(0, np.uint32), *known]), list_numbers(counts)
    # Known passages are looked up among the batch's: there are few of them, while the mask has b · passages cells.
    order = np.argsort(passages, kind="stable")
    ordered = passages[order]
    first = np.searchsorted(ordered, relevant, side="left")
    found = np.searchsorted(ordered, relevant, side="right") - first
    mask = np.zeros((len(known), len(passages)), bool)
    mask[np.repeat(queries, found), order[ranges(first, found)]] = True
    return mask


# --------
# One training batch: texts as tokens, the teacher's scores, and what is known to be relevant.


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
    query_tokenizer: PrefixedTokenizer
    passage_tokenizer: PrefixedTokenizer
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


# --------
# Batches in order, composed and tokenised ahead of the training loop.


@dataclass(frozen=True)
class Tokenising:
    """How texts become tokens.

    Args:
        folder: the model, with its tokenizer.
        query_max_length: tokens kept of each query, special tokens included; the paper's default.
        passage_max_length: likewise of each passage.
        query_prefix: put before every query.
        passage_prefix: put before every passage.
    """

    folder: Path
    query_max_length: int = 30
    passage_max_length: int = 200
    query_prefix: str = ""
    passage_prefix: str = ""


def training_batches(
    store: PairStore,
    sampler: Sampler,
    tokenising: Tokenising,
    *,
    start: int,
    stop: int | None,
    workers: int,
    ahead: int,
    rank: int = 0,
    world: int = 1,
) -> Generator[TrainingBatch]:
    """The batches of steps `start` to `stop` - 1, the same for any number of workers.

    Close the iterator to end the workers early; they also end when this process does, even when it is killed.

    Args:
        store: the pairs.
        sampler: of the same pairs.
        tokenising: how their texts become tokens.
        start: first step; the batches of earlier steps are not needed for it.
        stop: None for batches without end.
        workers: background processes; with 0, batches are composed when they are asked for, in this process.
        ahead: how many batches at most the workers compose beyond the one last given out.
        rank: this process among those that train together.
        world: how many they are. Each gets all batches, with the tokens of its own share.

    Raises:
        TasbError: the tokenizer cannot be used. Or later, from the iterator, naming the step: a batch cannot be
            composed, or a worker died.
        CompositionError: from the iterator, naming the step: composing a batch failed in any other way.
    """
    if workers < 0 or ahead < 1 or not 0 <= rank < world:
        raise ValueError(f"expected workers >= 0, ahead >= 1, 0 <= rank < world: {workers}, {ahead}, {rank}, {world}")
    composer = BatchComposer(
        store=store,
        sampler=sampler,
        query_tokenizer=open_prefixed_tokenizer(
            tokenising.folder, prefix=tokenising.query_prefix, max_length=tokenising.query_max_length
        ),
        passage_tokenizer=open_prefixed_tokenizer(
            tokenising.folder, prefix=tokenising.passage_prefix, max_length=tokenising.passage_max_length
        ),
        rank=rank,
        world=world,
    )
    steps = itertools.count(start) if stop is None else range(start, stop)
    if not workers:
        return composed_inline(composer, steps)
    return composed_ahead(composer, steps, workers=workers, ahead=ahead)
