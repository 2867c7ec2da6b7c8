"""Units of a corpus, read and tokenised by another process while the model works on the unit before."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

import numpy as np

from pyserini_tasb.encoding.plan import UnitDigest
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.workers import Child

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.formats.collections import Mark
    from pyserini_tasb.models.tokenizers import PrefixedTokenizer


AT_ONCE = 1024


@dataclass(frozen=True)
class TokenisedUnit:
    """Docids and token ids of one unit's passages, in corpus order.

    Args:
        number: of the unit, from 0.
        docids: [passages].
        token_ids: of all passages, one after the other.
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


class TokenisedUnits:
    """Has units tokenised, at most one more than the one that is worked on; a context manager.

    Args:
        tokenizer: with prefix and length cap.
        corpus: paths of the collections.
        plan: where their units begin.
        threads: to tokenise in.
    """

    def __init__(
        self, tokenizer: PrefixedTokenizer, corpus: tuple[str, ...], plan: CorpusPlan, threads: int = 1
    ) -> None:
        self._plan = plan
        self._child = Child(_tokenise, "the tokenising process")
        self._child.send((tokenizer, corpus, plan.unit_size, threads))

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


def _tokenise(connection: Connection) -> None:
    tokenizer, paths, unit_size, threads = connection.recv()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    corpus = Corpus(paths)
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
    while batch := list(islice(passages, min(AT_ONCE, unit_size - len(docids)))):
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
            do=f"leave the corpus as it is while it is encoded; encode a changed one to another {argument('output')}",
        )
    return TokenisedUnit(order.number, docids, np.concatenate(token_ids), np.array(lengths, dtype=np.int64))
