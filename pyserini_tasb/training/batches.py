"""Training batches: texts as tokens, the teacher's scores, what is known to be relevant; composed ahead of training."""

from __future__ import annotations

import itertools
import logging
import os
import traceback
from collections import deque
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.tokenizers import open_prefixed_tokenizer
from pyserini_tasb.training.binning import list_numbers, ranges
from pyserini_tasb.workers import Child, starting_processes, stop_all

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.models.tokenizers import PrefixedTokenizer
    from pyserini_tasb.training.sampling import SampledBatch, Sampler

LOG = logging.getLogger(__name__)


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
        sampler: the sampler of the same pairs.
        tokenising: how their texts become tokens.
        start: first step; the batches of earlier steps are not needed for it.
        stop: None for endless batches.
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
    if workers and not _found_elsewhere(composer):
        LOG.info(
            "batches are composed in this process: other processes cannot import the sampler, which the script "
            "itself defines"
        )
        workers = 0
    if not workers:
        return composed_inline(composer, steps)
    return composed_ahead(composer, steps, workers=workers, ahead=ahead)


def _found_elsewhere(composer: BatchComposer) -> bool:
    """True if a process that does not run the user's script can have the composer."""
    try:
        sent = bytes(ForkingPickler.dumps(composer))
    except (PicklingError, AttributeError, TypeError):  # what is defined in a function; lambdas
        return False
    return b"__main__" not in sent


@dataclass(frozen=True)
class TrainingBatch:
    """A batch of b queries, each with a positive and a negative passage, or with n negatives.

    All but the tokens is of the whole batch, in every process that trains together.

    Attributes:
        step: its number.
        queries: [b] indices of distinct queries.
        positives: [b] indices of passages.
        negatives: [b] indices of passages; with n > 1 negatives of each query, [b, n].
        rows: rows of the pair store, of the shape of `negatives`.
        scores: [b, 2] or [b, n, 2] the teacher's scores of positive and negative; None without.
        margins: the teacher's margins, of the shape of `negatives`; None if the pairs have labels only.
        known_positives: [b, b] True where the positive of query j is known to be relevant to query i, i != j.
        known_negatives: [b, b·n] True where a negative of query j, of which each has n in a row, is known to be
            relevant to query i.
        query_tokens: token ids of this process's share of the queries.
        passage_tokens: token ids of the positives of that share, then of its negatives, query after query.
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

    @property
    def negatives_per_query(self) -> int:
        """The number of negatives of each query, n."""
        return self.negatives.size // len(self.queries)


@dataclass(frozen=True)
class BatchComposer:
    """Makes the batch of a step, which depends only on the step.

    Args:
        store: the pairs.
        sampler: which of them make a batch.
        query_tokenizer: the tokenizer for queries.
        passage_tokenizer: the tokenizer for passages.
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
        store, sampled = self.store, self.sampler.batch(step)
        _require_pairs_of_queries(sampled, store)
        size = len(sampled.queries)
        rows = np.asarray(sampled.rows)
        positives, negatives = store.positives[rows if rows.ndim == 1 else rows[:, 0]], store.negatives[rows]
        known = [store.known_positives(query) for query in sampled.queries.tolist()]
        known_positives = known_mask(known, positives)
        np.fill_diagonal(known_positives, val=False)
        share = slice(self.rank * size // self.world, (self.rank + 1) * size // self.world)
        passages = np.concatenate([positives[share], negatives[share].ravel()])
        return TrainingBatch(
            step=step,
            queries=sampled.queries,
            positives=positives,
            negatives=negatives,
            rows=rows,
            scores=None if store.scores is None else store.scores[rows],
            margins=None if store.supervision == "labels" else _margins(store, rows),
            known_positives=known_positives,
            known_negatives=known_mask(known, negatives.ravel()),
            query_tokens=self.query_tokenizer(store.queries.texts(sampled.queries[share])),
            passage_tokens=self.passage_tokenizer(store.passages.texts(passages)),
        )


def _margins(store: PairStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return store.margins(rows.ravel()).reshape(rows.shape)


def _require_pairs_of_queries(sampled: SampledBatch, store: PairStore) -> None:
    """Look at what a sampler gives, which may be somebody else's: a wrong batch would train, on nonsense.

    Raises:
        TasbError: a query twice, a pair that is not its query's, or pairs of a query with different positives.
    """
    queries, rows = (np.asarray(getattr(sampled, name, None)) for name in ("queries", "rows"))
    found = ""
    if queries.dtype.kind not in "iu" or rows.dtype.kind not in "iu":
        found = f"{type(sampled).__name__} with queries of type {queries.dtype} and rows of type {rows.dtype}"
    elif queries.ndim != 1 or rows.ndim not in (1, 2) or queries.shape != rows.shape[:1] or not rows.size:
        found = f"queries {queries.shape} and rows {rows.shape}"
    elif len(np.unique(queries)) < len(queries):
        found = "a query twice"
    elif len(queries) and not (queries.min() >= 0 and queries.max() < len(store.offsets) - 1):
        found = f"queries from {queries.min()} to {queries.max()}, of {len(store.offsets) - 1}"
    elif not _are_of_queries(rows.reshape(len(queries), -1), queries, store):
        found = "a row that is not among its query's pairs"
    elif rows.ndim > 1 and (store.positives[rows] != store.positives[rows[:, :1]]).any():
        found = "rows of one query with different positives"
    if found:
        raise TasbError(
            expected="a batch of different queries, with a row of each query's pairs, or several of one positive, from "
            "the sampling strategy",
            found=found,
            do="fix the strategy, or choose another as sampling.strategy",
        )


def _are_of_queries(rows: NDArray[np.integer], queries: NDArray[np.integer], store: PairStore) -> bool:
    """True if every row [b, n] is one of its query's."""
    first, beyond = store.offsets[queries][:, None], store.offsets[queries + 1][:, None]
    return bool(((first <= rows) & (rows < beyond)).all())


def known_mask(known: Sequence[NDArray[np.uint32]], passages: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """True at [i, j] if passage j is known to be relevant to query i.

    Args:
        known: the relevant passages of each query, each once.
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


class CompositionError(Exception):
    """Composing a batch failed for no reason that its reader can fix; the text names the step."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"composing the batch of step {step} failed:\n{reason}")
        self.step = step


def composed_inline(composer: BatchComposer, steps: Iterable[int]) -> Generator[TrainingBatch]:
    """The batches of `steps`, each composed when it is asked for, in this process."""
    for step in steps:
        outcome = _outcome(composer, step)
        if isinstance(outcome, _Failure):
            raise outcome.error()
        yield outcome


def composed_ahead(
    composer: BatchComposer, steps: Iterable[int], *, workers: int, ahead: int
) -> Generator[TrainingBatch]:
    """The batches of `steps`, in order, composed in background processes.

    Args:
        composer: picklable.
        steps: distinct; possibly without end.
        workers: how many processes; they end with the iterator, or when this process does, however it ends.
        ahead: how many batches at most are composed beyond the one last given out. Large ones are fewer: a worker
            goes on when the connection has taken its last one (Linux: some 200 KB of batches wait there).

    Raises:
        TasbError: a worker met a mistake that the reader can fix, or died. The text names the step.
        CompositionError: a worker met any other error.
    """
    remaining = iter(steps)
    pool = _Workers()
    try:
        pool.start(composer, workers)
        asked = deque(itertools.islice(remaining, min(ahead, workers * ASKED_OF_A_WORKER)))
        for step in asked:
            pool.ask(step)
        while asked:
            batch = pool.answer(asked.popleft())
            for step in itertools.islice(remaining, 1):
                pool.ask(step)
                asked.append(step)
            yield batch
    finally:
        pool.stop()


SECONDS_TO_STOP = 5
# A socket takes a few hundred short messages (Linux: 278). With more, the training loop would wait for a worker to read
# them, while the worker waits for the training loop to read its batches.
ASKED_OF_A_WORKER = 64


class _Workers:
    """Worker processes; step s is worker s mod n's.

    This is not torch's DataLoader. If a worker is killed while it writes a batch, which is its usual state, that one
    waits forever for the rest, or raises the error wherever the main thread happens to be (measured with torch 2.13,
    start methods fork, forkserver and spawn). Here every worker has its own socket, which closes at the other end as
    soon as either side dies. No lock, thread or queue is shared, so no process waits for a dead one.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, composer: BatchComposer, count: int) -> None:
        with starting_processes():  # all of them: an interruption finds none that `stop` does not know
            for number in range(count):
                # Without the modules of losses and models, which bring torch: seconds and 200 MB for each worker.
                self._children.append(Child(_work, f"batches-{number}", looks_names_up=False))
        for child in self._children:
            child.send(composer)

    def stop(self) -> None:
        stop_all(self._children, SECONDS_TO_STOP)

    def ask(self, step: int) -> None:
        self._child(step).send(step)

    def answer(self, step: int) -> TrainingBatch:
        child = self._child(step)
        try:
            outcome: TrainingBatch | _Failure = child.connection.recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of a batch
            raise TasbError(
                where=f"step {step}",
                expected="worker processes that run as long as training",
                found=f"the one composing this batch (process {child.pid}) {child.ending()}",
                do="read what it printed; if memory ran out (SIGKILL; `dmesg` tells), use fewer workers",
            ) from error
        if isinstance(outcome, _Failure):
            raise outcome.error()
        return outcome

    def _child(self, step: int) -> Child:
        return self._children[step % len(self._children)]


def _work(connection: Connection) -> None:
    # The trainer's threads need the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    composer: BatchComposer = connection.recv()
    while True:
        connection.send(_outcome(composer, connection.recv()))


def _outcome(composer: BatchComposer, step: int) -> TrainingBatch | _Failure:
    try:
        return composer.compose(step)
    except TasbError as error:
        return _Failure(step, error)
    except Exception:  # noqa: BLE001 - raised again where the batch is waited for
        return _Failure(step, traceback.format_exc())


@dataclass(frozen=True)
class _Failure:
    """A step that failed: our own error, or the text of another, as not every exception can be sent on."""

    step: int
    reason: TasbError | str

    def error(self) -> Exception:
        if isinstance(self.reason, str):
            return CompositionError(self.step, self.reason)
        where = f"step {self.step}" + (f", {self.reason.where}" if self.reason.where else "")
        return TasbError(expected=self.reason.expected, found=self.reason.found, do=self.reason.do, where=where)
