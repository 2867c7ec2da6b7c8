"""Units of a corpus, one after the other: tokenised ahead by another process, encoded, written whole."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.artifacts import HeldError, lock_file
from pyserini_tasb.encoding.job import begin
from pyserini_tasb.encoding.plan import UnitDigest
from pyserini_tasb.encoding.vectors import UNITS, VectorUnit
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.models.tokenizers import batches_by_length
from pyserini_tasb.workers import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.encoding.job import EncodeJob
    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.formats.collections import Mark
    from pyserini_tasb.formats.fields import Fields
    from pyserini_tasb.models.backends import Texts
    from pyserini_tasb.models.tokenizers import PrefixedTokenizer


LOG = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0
TOKENISED_AT_ONCE = 1024


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
    with unit_encoder(job, plan) as encode:
        encode(numbers, supervisor)


@contextlib.contextmanager
def unit_encoder(job: EncodeJob, plan: CorpusPlan) -> Iterator[Callable[[Sequence[int], Supervisor], None]]:
    """Load the encoder of a job; yield a function that encodes units as `encode_units` does, as often as it is called.

    Args:
        job: what is asked.
        plan: the plan of its corpus.

    Raises:
        TasbError: as `encode_units`.
    """
    from pyserini_tasb.encoding.encoders import TextEncoder  # imports torch
    from pyserini_tasb.models.checkpoints import find_checkpoint
    from pyserini_tasb.models.tokenizers import open_prefixed_tokenizer

    # Queries come in batches here, too: with `queries` alone, `auto` would look at the latency of one.
    texts: Texts = "queries and passages" if job.kind == "query" else "passages"
    encoder = TextEncoder(job.card, _device(job.device), backend=job.backend, texts=texts)
    manifest = begin(job, plan, encoder)
    tokenizer = open_prefixed_tokenizer(
        find_checkpoint(job.card.model, allow_bin=job.card.allow_bin),
        prefix=job.prefix,
        max_length=min(job.length_cap, encoder.longest),
    )
    # Where the CPU computes, tokenising leaves the cores to it; a GPU waits for every one of them.
    threads = 1 if encoder.device == "cpu" else max(1, len(os.sched_getaffinity(0)) - 1)
    with TokenisedUnits(tokenizer, job.corpus, job.fields, plan, threads) as tokenised:

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
    """

    passages: int
    tokens: int
    tokens_with_padding: int
    average_passages: float


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
    by_number = {unit.number: unit for unit in units}
    for passages in tokenised.units(_free(units)):
        unit = by_number[passages.number]
        with contextlib.suppress(HeldError), _lock(unit):
            if unit.finished:
                continue
            vectors = _encode_unit(encoder, passages, job, supervisor)
            if vectors is None:
                return
            for path in (job.output / UNITS).glob(f"{unit.number:06}.*.part"):
                path.unlink()  # of a process that was killed while it wrote
            unit.write(passages.docids, vectors)


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


def _encode_unit(
    encoder: TextEncoder,
    unit: TokenisedUnit,
    job: EncodeJob,
    supervisor: Supervisor,
) -> NDArray[Any] | None:
    """Vectors [passages, dimension] in corpus order; None if it was stopped.

    Args:
        encoder: the model.
        unit: the passages.
        job: says the precision to compute in, and the type to store in.
        supervisor: hears of every batch, and can stop the work.

    Raises:
        TasbError: a number is not finite in that type.
    """
    vectors = np.empty((len(unit.docids), encoder.dimension), dtype=job.dtype)
    texts = unit.texts()
    # As large as the encoder's own batches, so that each call is one of them.
    budget = encoder.tokens_per_batch(job.precision)
    tokens_in_all = int(unit.lengths.sum())
    for batch in batches_by_length(unit.lengths.tolist(), budget):
        if supervisor.stopped():
            return None
        # numpy's integers do for the model, which makes tensors of them.
        batch_texts: list[Any] = [texts[row] for row in batch]
        with np.errstate(over="ignore"):  # refused below
            vectors[batch] = encoder.encode_tokens(batch_texts, precision=job.precision)
        tokens, longest = int(unit.lengths[batch].sum()), int(unit.lengths[batch].max())
        average_passages = len(unit.docids) * tokens / max(1, tokens_in_all)
        supervisor.report(EncodedBatch(len(batch), tokens, longest * len(batch), average_passages))
    not_finite = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(not_finite):
        raise TasbError(
            where=f"passage {unit.docids[not_finite[0]]}",
            expected=f"vectors of finite {job.dtype} numbers",
            found=f"{len(not_finite)} of the unit's {len(unit.docids)} passages have others",
            do=f"store with {argument('dtype', 'fp32')}, compute with {argument('precision', 'fp32')}; if that does "
            "not help, the weights are damaged",
        )
    return vectors


class TokenisedUnits:
    """Has units tokenised, at most one more than the one that is worked on; a context manager.

    Args:
        tokenizer: a tokenizer that knows prefix and length limit.
        corpus: paths of the collections.
        fields: the fields of a passage's docid and text.
        plan: where their units begin.
        threads: the number of threads that tokenise.
    """

    def __init__(
        self, tokenizer: PrefixedTokenizer, corpus: tuple[str, ...], fields: Fields, plan: CorpusPlan, threads: int = 1
    ) -> None:
        self._plan = plan
        self._child = Child(_tokenise, "the tokenising process")
        self._child.send((tokenizer, corpus, fields, plan.unit_size, threads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.stop()

    def units(self, numbers: Iterable[int]) -> Iterator[TokenisedUnit]:
        """These units, in this order; `numbers` is asked for the next one before one is given out.

        Raises:
            TasbError: the corpus cannot be read, or is not what the plan was made of.
        """
        remaining = iter(numbers)
        waiting = self._order(remaining)
        while waiting:
            unit: TokenisedUnit = self._child.receive()
            waiting = self._order(remaining)
            yield unit

    def _order(self, remaining: Iterator[int]) -> bool:
        for number in remaining:
            self._child.send(_Order(number, self._plan.marks[number], self._plan.digests[number]))
            return True
        return False


@dataclass(frozen=True)
class TokenisedUnit:
    """Docids and token ids of one unit's passages, in corpus order.

    Args:
        number: the number of the unit, from 0.
        docids: [passages].
        token_ids: the token ids of all passages, one after the other.
        lengths: [passages] in tokens, special tokens included.
    """

    number: int
    docids: list[str]
    token_ids: NDArray[np.int32]
    lengths: NDArray[np.int64]

    def texts(self) -> list[NDArray[np.int32]]:
        """The token ids of each passage, as views."""
        return np.split(self.token_ids, np.cumsum(self.lengths)[:-1])


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
        # At once: as Python's integers they would take nine times the memory.
        token_ids.append(np.array([token for ids in tokenised for token in ids], dtype=np.int32))
    if digest.hexdigest() != order.digest:
        raise TasbError(
            where=f"passages {order.number * unit_size + 1:,} to {order.number * unit_size + len(docids):,}",
            expected="the corpus as it was when the command began",
            found="other docids or texts",
            do=f"do not change the corpus while it is encoded; encode a changed corpus to another {argument('output')}",
        )
    return TokenisedUnit(order.number, docids, np.concatenate(token_ids), np.array(lengths, dtype=np.int64))
