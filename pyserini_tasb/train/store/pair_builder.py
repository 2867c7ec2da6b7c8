"""Building a pair store out of core: rows come in any order, the same rows give the same bytes."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.texts.manifest import write_manifest
from pyserini_tasb.texts.new_folder import new_folder
from pyserini_tasb.texts.text_store import TextStore, copy_text_store
from pyserini_tasb.train.store.pair_arrays import PairArrays, passage_keys
from pyserini_tasb.train.store.pair_store import KIND, PASSAGES, QUERIES, VERSION
from pyserini_tasb.train.store.row_spool import PairRows, RowSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from pyserini_tasb.train.store.agreement import Agreement
    from pyserini_tasb.train.store.pair_store import Supervision

__all__ = ["PairRows", "PairStoreBuilder"]

SCRATCH = "scratch"


class PairStoreBuilder:
    """Builds a pair store; a context manager. The store is there once the manager is left, and not a moment before.

        with PairStoreBuilder(folder, "scores") as builder:
            builder.add(PairRows(queries, positives, negatives, values))
            builder.finish(query_texts, passage_texts)

    Rows of a query are sorted by positive, negative and values; of rows equal in all of these one is kept. Only texts
    that a row or a known positive needs are stored, in the order of their source.

    Args:
        folder: absent or empty, unless `overwrite`.
        supervision: what is known of each pair.
        overwrite: replace a store in `folder`, once the new one is complete.

    Attributes:
        scratch: a folder for the caller's files, which are not needed any longer after `finish`.

    Raises:
        TasbError: `folder` is in the way, or the disk refuses.
    """

    scratch: Path

    def __init__(self, folder: Path, supervision: Supervision, *, overwrite: bool = False) -> None:
        self.supervision = supervision
        self._folder = folder
        self._finished = False
        self._new_folder = new_folder(folder, overwrite=overwrite)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._beside = stack.enter_context(self._new_folder)
            self.scratch = self._beside / SCRATCH
            self.scratch.mkdir()
            self._spool = stack.enter_context(contextlib.closing(RowSpool(self.scratch, self.supervision)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            if error:
                raise error
            if not self._finished:
                raise RuntimeError("the builder was left before finish()")

    def add(self, rows: PairRows) -> None:
        """Add pairs, as indices into the texts that `finish` will get.

        Raises:
            ValueError: a score is not finite.
        """
        self._spool.append(rows)

    def finish(
        self,
        queries: TextStore,
        passages: TextStore,
        *,
        known_positives: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
        notes: Mapping[str, Any] | None = None,
        check: Callable[[Agreement], None] | None = None,
    ) -> None:
        """Write all files of the store.

        Args:
            queries: what the rows' queries index.
            passages: what the rows' positives and negatives index.
            known_positives: more relevant passages than the pairs show: indices of queries, and of their passages.
                Those of queries without pairs are left out.
            notes: what else the manifest shall say, e.g. the sources.
            check: gets the teacher's agreement with the labels before the texts are copied, and may raise an error.

        Raises:
            TasbError: there is not one row, or the disk refuses.
        """
        if not self._spool.rows:
            raise TasbError(
                where=str(self._folder), expected="at least one pair", found="none", do="check the sources of the pairs"
            )
        has_pairs = np.zeros(len(queries), np.bool_)
        has_pairs[np.flatnonzero(self._spool.counts)] = True
        needed = np.zeros(len(passages), np.bool_)
        needed[np.flatnonzero(self._spool.used_passages)] = True
        known_queries, known_passages = known_positives or (np.zeros(0, np.int64), np.zeros(0, np.int64))
        of_pairs = has_pairs[known_queries]
        known_queries, known_passages = known_queries[of_pairs], known_passages[of_pairs]
        needed[known_passages] = True

        query_numbers, passage_numbers = _numbers(has_pairs), _numbers(needed)
        known = np.unique(passage_keys(query_numbers[known_queries], passage_numbers[known_passages]))
        with (
            PairArrays(self._beside, self.supervision, int(has_pairs.sum()), known) as arrays,
            tqdm(total=self._spool.rows, desc="sorting pairs", unit=" rows", unit_scale=True, disable=None) as progress,
        ):
            for rows in self._spool.sorted_buckets():
                arrays.append(
                    query_numbers[rows["query"]],
                    passage_numbers[rows["positive"]],
                    passage_numbers[rows["negative"]],
                    rows["values"],
                )
                progress.update(len(rows))
        if check:
            check(arrays.agreement)
        for name, source, chosen in ((QUERIES, queries, has_pairs), (PASSAGES, passages, needed)):
            (self._beside / name).mkdir()
            copy_text_store(self._beside / name, source, np.flatnonzero(chosen))
        shutil.rmtree(self.scratch)
        counts = {"queries": int(has_pairs.sum()), "passages": int(needed.sum())}
        content = {"supervision": self.supervision, **counts, **arrays.statistics(), **(notes or {})}
        write_manifest(self._beside, KIND, VERSION, content)
        self._finished = True


def _numbers(chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Indices in the store, for those chosen from the source."""
    return np.cumsum(chosen, dtype=np.uint32) - np.uint32(1)
