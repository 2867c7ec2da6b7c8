"""Units of a corpus, tokenised by other processes while this one loads the model and computes vectors."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from pyserini_tasb.encoding.plan import UnitDigest
from pyserini_tasb.environment.processor import cores, threads
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.models.tokenizers import batches_by_length, joined
from pyserini_tasb.workers import Child, stop_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.formats.collections import Mark
    from pyserini_tasb.formats.fields import Fields
    from pyserini_tasb.models.tokenizers import PrefixedTokenizer

TOKENISED_AT_ONCE = 1024
# Of a passage's time on an Intel Xeon, a seventh is what one thread does, reading and collecting: with more threads,
# most of them would wait for it.
MOST_THREADS = 4
SECONDS_TO_STOP = 0.5  # they only read, so nothing is lost if one is killed
GPU_DRIVERS = ("dev/nvidiactl", "proc/driver/nvidia", "dev/kfd")  # of Nvidia and AMD, on Linux


@dataclass(frozen=True)
class Tokenisers:
    """The processes that tokenise.

    Args:
        processes: the number of processes.
        threads: the threads of each.
    """

    processes: int = 1
    threads: int = 1

    @classmethod
    def beside(cls, device: str, corpus: Corpus) -> Self:
        """The processes to start beside a model on this device.

        Where the CPU computes, one thread tokenises, which is many times as fast as a model. A GPU waits for tokens,
        and gets all cores but one; ranks of torchrun, which all have a GPU, divide them.
        """
        if device.partition(":")[0] == "cpu":
            return cls()
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        # torchrun sets OMP_NUM_THREADS to 1, whatever there is.
        free = max(1, (cores() // ranks if ranks > 1 else threads()) - 1)
        if not corpus.begins_anywhere():  # each process would read it from its beginning
            return cls(1, free)
        return cls(-(-free // MOST_THREADS), min(free, MOST_THREADS))


def likely_device(asked: str | None, root: Path = Path("/")) -> str:
    """The device that a model will probably be on, said without importing torch.

    Args:
        asked: the device that was asked for; None for a GPU if there is one.
        root: where `proc` and `dev` are.
    """
    return asked or ("cuda" if any((root / driver).exists() for driver in GPU_DRIVERS) else "cpu")


class TokenisedUnits:
    """Has units tokenised: in each process one unit, which waits there until it is received; a context manager.

    The processes start at once; `begin` tells them what to do.

    Args:
        plan: where the corpus's units begin.
        tokenisers: the number of processes, and of their threads.
    """

    def __init__(self, plan: CorpusPlan, tokenisers: Tokenisers) -> None:
        self._plan, self._threads = plan, tokenisers.threads
        self._children: list[Child] = []
        try:
            for _ in range(tokenisers.processes):
                self._children.append(Child(_tokenise, "the tokenising process"))
        except BaseException:
            stop_all(self._children, SECONDS_TO_STOP)
            raise
        self._idle = deque(self._children)
        self._ordered: deque[tuple[int, Child]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [child.pid for child in self._children if child.pid is not None]

    def stop(self) -> None:
        """End the processes, as the end of the block does."""
        stop_all(self._children, SECONDS_TO_STOP)

    def begin(
        self, tokenizer: PrefixedTokenizer, corpus: tuple[str, ...], fields: Fields, numbers: Iterable[int] = ()
    ) -> None:
        """Tell the processes what to do.

        Args:
            tokenizer: a tokenizer that knows prefix and length limit.
            corpus: paths of the collections.
            fields: the fields of a passage's docid and text.
            numbers: units that will be asked for; the first of them are begun.
        """
        for child in self._children:
            child.send((tokenizer, corpus, fields, self._plan.unit_size, self._threads))
        self._order(iter(numbers))

    def units(self, numbers: Iterable[int]) -> Iterator[tuple[TokenisedUnit, float]]:
        """These units, and the seconds that each was waited for; those first that `begin` has begun.

        `numbers` is asked for the next ones before a unit is given out, as many as there are processes.

        Raises:
            TasbError: the corpus cannot be read, or is not what the plan was made of.
        """
        begun = {number for number, _ in self._ordered}
        remaining = (number for number in numbers if number not in begun)
        self._order(remaining)
        while self._ordered:
            _, child = self._ordered.popleft()
            start = time.monotonic()
            unit: TokenisedUnit = child.receive()
            waited = time.monotonic() - start
            self._idle.append(child)
            self._order(remaining)
            yield unit, waited

    def _order(self, numbers: Iterator[int]) -> None:
        for number in islice(numbers, len(self._idle)):
            child = self._idle.popleft()
            child.send(_Order(number, self._plan.marks[number], self._plan.digests[number]))
            self._ordered.append((number, child))


@dataclass(frozen=True)
class TokenisedUnit:
    """Docids and token ids of one unit's passages; the longest passage's come first, as batches need them.

    Args:
        number: the number of the unit, from 0.
        docids: [passages], in corpus order.
        rows: [passages], the longest first: where each passage is in corpus order.
        lengths: [passages] in tokens, special tokens included, in the order of `rows`.
        token_ids: the token ids of all passages, one passage after the other, in the order of `rows`.
    """

    number: int
    docids: list[str]
    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    token_ids: NDArray[np.int32]

    def batches(self, tokens_per_batch: int) -> Iterator[TokenisedBatch]:
        """The passages in batches, as `batches_by_length` cuts them."""
        ends = np.cumsum(self.lengths)
        for batch in batches_by_length(self.lengths, tokens_per_batch):
            first, last = batch[0], batch[-1]  # all in between are in it: they are sorted
            tokens = self.token_ids[ends[first] - self.lengths[first] : ends[last]]
            yield TokenisedBatch(self.rows[batch], self.lengths[batch], tokens)


@dataclass(frozen=True)
class TokenisedBatch:
    """Passages of one unit that the model computes at once.

    Args:
        rows: [passages], where each is in the unit.
        lengths: [passages] in tokens.
        token_ids: the token ids of all passages, one passage after the other.
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    token_ids: NDArray[np.int32]


@dataclass(frozen=True)
class _Order:
    number: int
    start: Mark
    digest: str


def _tokenise(connection: Connection) -> None:
    tokenizer, paths, fields, unit_size, threads = connection.recv()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    corpus = Corpus(paths, fields)
    passages: Iterator[tuple[Mark, str, str]] = iter(())
    next_unit = -1
    while True:
        order: _Order = connection.recv()
        if order.number != next_unit:
            passages = corpus.marked(order.start)
        connection.send(_tokenised(order, passages, unit_size, tokenizer))
        next_unit = order.number + 1


def _tokenised(
    order: _Order, passages: Iterator[tuple[Mark, str, str]], unit_size: int, tokenizer: PrefixedTokenizer
) -> TokenisedUnit:
    digest = UnitDigest()
    docids: list[str] = []
    token_ids: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    while batch := list(islice(passages, min(TOKENISED_AT_ONCE, unit_size - len(docids)))):
        digest.add((docid, text) for _, docid, text in batch)
        docids += [docid for _, docid, _ in batch]
        tokenised = tokenizer([text for _, _, text in batch])
        lengths += map(len, tokenised)
        token_ids.append(joined(tokenised))  # at once: as Python's integers they would take nine times the memory
    if digest.hexdigest() != order.digest:
        raise TasbError(
            where=f"passages {order.number * unit_size + 1:,} to {order.number * unit_size + len(docids):,}",
            expected="the corpus as it was when the command began",
            found="other docids or texts",
            do=f"do not change the corpus while it is encoded; encode a changed corpus to another {argument('output')}",
        )
    return _longest_first(order.number, docids, np.array(lengths, dtype=np.int64), np.concatenate(token_ids))


def _longest_first(
    number: int, docids: list[str], lengths: NDArray[np.int64], token_ids: NDArray[np.int32]
) -> TokenisedUnit:
    """A unit whose lengths and token ids are given in corpus order."""
    rows = np.argsort(-lengths, kind="stable")  # as `batches_by_length` sorts: it will find them in order
    starts, in_turn = np.cumsum(lengths) - lengths, lengths[rows]
    # For each token its place in corpus order: where its passage begins there, and how far it is from its beginning.
    ends = np.cumsum(in_turn)
    places = np.repeat(starts[rows] - (ends - in_turn), in_turn) + np.arange(len(token_ids))
    return TokenisedUnit(number, docids, rows, in_turn, token_ids[places])
