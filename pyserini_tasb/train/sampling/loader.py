"""Batches in order, composed and tokenised ahead of the training loop."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.encode.text_tokenizer import open_text_tokenizer
from pyserini_tasb.train.sampling.batch import BatchComposer, TrainingBatch
from pyserini_tasb.train.sampling.workers import composed_ahead, composed_inline

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pyserini_tasb.train.sampling.draw import Sampler
    from pyserini_tasb.train.store import PairStore


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
        query_tokenizer=open_text_tokenizer(
            tokenising.folder, prefix=tokenising.query_prefix, max_length=tokenising.query_max_length
        ),
        passage_tokenizer=open_text_tokenizer(
            tokenising.folder, prefix=tokenising.passage_prefix, max_length=tokenising.passage_max_length
        ),
        rank=rank,
        world=world,
    )
    steps = itertools.count(start) if stop is None else range(start, stop)
    if not workers:
        return composed_inline(composer, steps)
    return composed_ahead(composer, steps, workers=workers, ahead=ahead)
