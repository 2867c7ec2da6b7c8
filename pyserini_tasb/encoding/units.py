"""Units of a corpus, one after the other: tokenised ahead by other processes, encoded, written whole.

While a unit's vectors are written, the next unit is encoded. Where a GPU computes, its batches are queued already.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.artifacts import HeldError, lock_file
from pyserini_tasb.encoding.job import begin
from pyserini_tasb.encoding.tokens import TokenisedUnits, Tokenisers, likely_device
from pyserini_tasb.encoding.vectors import UNITS, VectorUnit
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.queues import in_turn
from pyserini_tasb.models.tokenizers import likely_prefixed_tokenizer, open_prefixed_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.encoding.job import EncodeJob
    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.encoding.tokens import TokenisedBatch, TokenisedUnit
    from pyserini_tasb.models.backends import Texts


LOG = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0


def encode_units(
    job: EncodeJob,
    plan: CorpusPlan,
    numbers: Sequence[int],
    supervisor: Supervisor,
) -> None:
    """Encode units and write them. Units that other processes encode are waited for.

    Args:
        job: what is asked.
        plan: the plan of its corpus.
        numbers: the numbers of the units.
        supervisor: hears of every batch, and can stop the work.

    Raises:
        TasbError: the model is not here, the folder is of something else, the corpus was changed, or the disk refuses.
    """
    with unit_encoder(job, plan, numbers) as encode:
        encode(numbers, supervisor)


@contextlib.contextmanager
def unit_encoder(
    job: EncodeJob, plan: CorpusPlan, first: Sequence[int] = ()
) -> Iterator[Callable[[Sequence[int], Supervisor], None]]:
    """Load the encoder of a job; yield a function that encodes units as `encode_units` does, as often as it is called.

    Args:
        job: what is asked.
        plan: the plan of its corpus.
        first: the units that the first call will be about, so that they can be tokenised meanwhile.

    Raises:
        TasbError: as `encode_units`.
    """
    with contextlib.ExitStack() as stack:
        early = _Early(job, plan, first, stack)
        from pyserini_tasb.encoding.encoders import TextEncoder  # imports torch

        # Queries come in batches here, too: with `queries` alone, `auto` would look at the latency of one.
        texts: Texts = "queries and passages" if job.kind == "query" else "passages"
        encoder = TextEncoder(job.card, _device(job.device), backend=job.backend, texts=texts)
        manifest = begin(job, plan, encoder)
        tokenised = early.confirmed(encoder)

        def encode(numbers: Sequence[int], supervisor: Supervisor) -> None:
            told = False
            left = [VectorUnit(job.output, number, manifest.digest) for number in numbers]
            while left and not supervisor.stopped():
                _encode_free_units(job, encoder, tokenised, left, supervisor)
                left = [unit for unit in left if not unit.finished]
                if left and not supervisor.stopped():
                    if not told:
                        told = True
                        LOG.info("%s: waiting for units that other processes encode", job.output)
                    time.sleep(SECONDS_BETWEEN_LOOKS)

        yield encode


class _Early:
    """Processes that tokenise the first units while torch is imported and the model loaded.

    How many processes, and with which tokenizer, is guessed: to know it takes torch, transformers and the model.

    Args:
        job: what is asked.
        plan: the plan of its corpus.
        first: units to begin with.
        stack: ends the processes.
    """

    def __init__(self, job: EncodeJob, plan: CorpusPlan, first: Sequence[int], stack: contextlib.ExitStack) -> None:
        self._job, self._plan, self._first, self._stack = job, plan, first, stack
        self._corpus = Corpus(job.corpus, job.fields)
        self._folder = find_checkpoint(job.card.model, allow_bin=job.card.allow_bin)
        self._guess = Tokenisers.beside(likely_device(job.device), self._corpus)
        self._units = stack.enter_context(TokenisedUnits(plan, self._guess))
        self._tokenizer = likely_prefixed_tokenizer(self._folder, prefix=job.prefix, max_length=job.length_cap)
        if self._tokenizer is not None:
            self._units.begin(self._tokenizer, job.corpus, job.fields, first)

    def confirmed(self, encoder: TextEncoder) -> TokenisedUnits:
        """The units' tokens as this encoder wants them: those processes, or others if something was guessed wrongly.

        Raises:
            TasbError: the model has no fast tokenizer, or a length limit leaves no room for text.
        """
        limit = min(self._job.length_cap, encoder.longest)
        tokenizer = open_prefixed_tokenizer(self._folder, prefix=self._job.prefix, max_length=limit)
        tokenisers = Tokenisers.beside(encoder.device, self._corpus)
        as_guessed = self._tokenizer is not None and self._tokenizer.gives_the_ids_of(tokenizer)
        if as_guessed and tokenisers == self._guess:
            return self._units
        self._units.stop()
        units = self._stack.enter_context(TokenisedUnits(self._plan, tokenisers))
        units.begin(tokenizer, self._job.corpus, self._job.fields, self._first)
        return units


@dataclass(frozen=True)
class Supervisor:
    """The one that the work is done for.

    Args:
        report: is told of every batch.
        stopped: asked before every batch; if it says so, the current unit is given up.
    """

    report: Callable[[EncodedBatch], None]
    stopped: Callable[[], bool]


@dataclass(frozen=True)
class EncodedBatch:
    """A batch that is encoded.

    Args:
        passages: how many there are in it.
        tokens: their tokens.
        tokens_with_padding: the tokens that the model computed.
        average_passages: how many passages of the unit's average length they amount to.
        waited: the seconds that nothing was handed to the model because tokens were missing.
    """

    passages: int
    tokens: int
    tokens_with_padding: int
    average_passages: float
    waited: float = 0.0


class EncodingProgress:
    """A bar; a context manager.

    Each unit's longest passages come first, one of which takes as long as many short ones. So the bar advances by
    passages of average length: the time left would otherwise be several times too long at the beginning.

    Args:
        done: texts encoded by earlier tries.
        total: texts.
        unit: what they are.
    """

    def __init__(self, done: int, total: int, unit: str) -> None:
        from tqdm.auto import tqdm

        self.passages = self._tokens = self._tokens_with_padding = 0
        self.waited = 0.0
        self._position = float(done)
        self._bar = tqdm(total=total, initial=done, desc="encoding", unit=f" {unit}", smoothing=0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def add(self, batch: EncodedBatch) -> None:
        """Show that a batch is encoded."""
        self.passages += batch.passages
        self._tokens += batch.tokens
        self._tokens_with_padding += batch.tokens_with_padding
        self.waited += batch.waited
        self._bar.set_postfix_str(f"{self.padding:.1%} padding", refresh=False)
        self._position += batch.average_passages
        self._bar.update(round(self._position) - self._bar.n)

    @property
    def padding(self) -> float:
        """The share of what the model computed that was padding."""
        return 1 - self._tokens / max(1, self._tokens_with_padding)


def _device(asked: str | None) -> str | None:
    """The device that was asked for; each of torchrun's processes has a GPU of its own; else the back end chooses."""
    rank = os.environ.get("LOCAL_RANK")
    if asked or rank is None:
        return asked
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    # Not run here: no GPU on the machine that wrote this.
    return f"cuda:{int(rank) % torch.cuda.device_count()}"


def _encode_free_units(
    job: EncodeJob,
    encoder: TextEncoder,
    tokenised: TokenisedUnits,
    units: Sequence[VectorUnit],
    supervisor: Supervisor,
) -> None:
    with contextlib.ExitStack() as locks, _Writer() as writer:
        at_work = _taken(job, encoder, tokenised, units, locks)
        begun = _begun(job, encoder, at_work, supervisor)
        for (unit, batch, waited), vectors in in_turn(begun, encoder.batches_ahead(job.precision)):
            supervisor.report(unit.add(batch, vectors, waited))
            writer.check()
            if unit.complete:
                writer.write(unit)


def _taken(
    job: EncodeJob,
    encoder: TextEncoder,
    tokenised: TokenisedUnits,
    units: Sequence[VectorUnit],
    locks: contextlib.ExitStack,
) -> Iterator[tuple[_UnitAtWork, TokenisedUnit, float]]:
    """The units that are free, each locked once its tokens are here; and the seconds that they were waited for."""
    by_number = {unit.number: unit for unit in units}
    for tokens, waited in tokenised.units(_free(units)):
        unit, lock = by_number[tokens.number], locks.enter_context(contextlib.ExitStack())
        try:
            lock.enter_context(_lock(unit))
        except HeldError:
            continue
        if unit.finished:
            lock.close()
            continue
        vectors = np.empty((len(tokens.docids), encoder.dimension), dtype=job.dtype)
        yield _UnitAtWork(unit, tokens, lock, vectors), tokens, waited


def _begun(
    job: EncodeJob,
    encoder: TextEncoder,
    at_work: Iterator[tuple[_UnitAtWork, TokenisedUnit, float]],
    supervisor: Supervisor,
) -> Iterator[tuple[tuple[_UnitAtWork, TokenisedBatch, float], Callable[[], NDArray[np.float32]]]]:
    """Hand over the units' batches to the encoder, one at each step, until it is to stop.

    Yields:
        the unit, the batch and the seconds that its tokens were waited for; and what waits for its vectors.
    """
    budget = encoder.tokens_per_batch(job.precision)
    for unit, tokens, waited in at_work:
        for number, batch in enumerate(tokens.batches(budget)):
            if supervisor.stopped():
                return
            wait = encoder.begin_tokens(batch.token_ids, batch.lengths, precision=job.precision)
            yield (unit, batch, 0.0 if number else waited), wait


def _free(units: Sequence[VectorUnit]) -> Iterator[int]:
    """The unfinished units that no other process is encoding."""
    for unit in units:
        with contextlib.suppress(HeldError):
            with _lock(unit):
                is_free = not unit.finished
            if is_free:
                yield unit.number


@contextlib.contextmanager
def _lock(unit: VectorUnit) -> Iterator[None]:
    advice = "check the folder, its permissions and the space on the disk"
    with contextlib.ExitStack() as stack:
        with os_errors_explained(unit.path(".lock"), expected="a folder that can be written to", do=advice):
            stack.enter_context(lock_file(unit.path(".lock")))
        yield


class _UnitAtWork:
    """A unit whose vectors come in, batch by batch.

    Args:
        unit: its files.
        tokens: its passages.
        lock: is closed once it is written.
        vectors: room for its vectors [passages, dimension], of the type to store.
    """

    def __init__(
        self, unit: VectorUnit, tokens: TokenisedUnit, lock: contextlib.ExitStack, vectors: NDArray[Any]
    ) -> None:
        self._unit, self._docids, self._lock, self._vectors = unit, tokens.docids, lock, vectors
        self._tokens, self._left = int(tokens.lengths.sum()), len(tokens.docids)

    @property
    def complete(self) -> bool:
        """True if all vectors are here."""
        return not self._left

    def add(self, batch: TokenisedBatch, vectors: NDArray[np.float32], waited: float) -> EncodedBatch:
        """Take in the vectors of a batch; what to report of it.

        Args:
            batch: the batch.
            vectors: its vectors [passages, dimension].
            waited: the seconds that its tokens were waited for.
        """
        with np.errstate(over="ignore"):  # refused when it is written
            self._vectors[batch.rows] = vectors
        self._left -= len(batch.rows)
        tokens, longest = int(batch.lengths.sum()), int(batch.lengths.max())
        average_passages = len(self._docids) * tokens / max(1, self._tokens)
        return EncodedBatch(len(batch.rows), tokens, longest * len(batch.rows), average_passages, waited)

    def write(self) -> None:
        """Write it, and let go of its lock.

        Raises:
            TasbError: a number is not finite in the type to store, or the disk refuses.
        """
        not_finite = np.flatnonzero(~np.isfinite(self._vectors).all(axis=1))
        if len(not_finite):
            raise TasbError(
                where=f"passage {self._docids[not_finite[0]]}",
                expected=f"vectors of finite {self._vectors.dtype} numbers",
                found=f"{len(not_finite)} of the unit's {len(self._docids)} passages have others",
                do=f"store with {argument('dtype', 'fp32')}, compute with {argument('precision', 'fp32')}; if that "
                "does not help, the weights are damaged",
            )
        for path in (self._unit.folder / UNITS).glob(f"{self._unit.number:06}.*.part"):
            path.unlink()  # of a process that was killed while it wrote
        self._unit.write(self._docids, self._vectors)
        self._lock.close()


class _Writer:
    """Writes units in a thread, one at a time; a context manager, which waits for the last one and raises its error."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown()
        if kind is None:
            self.check()

    def write(self, unit: _UnitAtWork) -> None:
        """Have a unit written, once the one before is: no more than two are in memory.

        Raises:
            TasbError: what went wrong with the unit before.
        """
        if self._writing is not None:
            self._writing.result()
        self._writing = self._pool.submit(unit.write)

    def check(self) -> None:
        """Look whether a unit could not be written; do not wait for it.

        Raises:
            TasbError: what went wrong.
        """
        if self._writing is not None and self._writing.done():
            self._writing.result()
