"""The cluster file: one cluster a line, its qids separated by tabs (the released code's format)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import LineFaults, open_lines, require_utf8
from pyserini_tasb.outputs import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.outputs import NewFile


LOG = logging.getLogger(__name__)
LARGEST_UNKNOWN_SHARE = 0.5


class QueryIds(Protocol):
    """The numbers of queries by their ids, as a `TextStore` has them."""

    def indices(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The index of each id, -1 where it is unknown."""


class QueriesWithPairs(Protocol):
    """The part of a pair store that clusters need."""

    @property
    def queries(self) -> QueryIds:
        """The queries by id."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """[queries + 1]; the pairs of query i are the rows offsets[i]:offsets[i + 1]."""


def write_clusters(output: Path | NewFile, clusters: Sequence[Sequence[str]]) -> None:
    """Write clusters of qids; empty ones are left out.

    Raises:
        TasbError: a qid that is empty or has white space in it, which could not be read back; or the file cannot be
            written.
    """
    for qids in clusters:
        bad = next((qid for qid in qids if not _is_qid(qid)), None)
        if bad is not None:
            raise TasbError(
                expected="query ids without white space: the cluster file separates them by tabs",
                found=f"{bad!r}",
                do="change the ids of the queries",
            )
    with opened(output) as file:
        file.writelines(("\t".join(qids) + "\n").encode() for qids in clusters if qids)


def read_clusters(path: Path) -> list[list[str]]:
    """The qids of each cluster, in the file's order; lines without any are left out.

    Raises:
        TasbError: the file cannot be read, has no qid at all, or has faulty lines: a qid that is empty, has white
            space in it, or occurs a second time; not UTF-8. All are named.
    """
    clusters: list[list[str]] = []
    first_line: dict[str, int] = {}
    faults = LineFaults(path, expected="qids separated by tabs, one cluster a line, each qid in one place only")
    with open_lines(path) as lines:
        for number, ended in enumerate(lines, 1):
            line = ended.rstrip("\r\n")
            if not line.strip():
                continue
            qids = line.split("\t")
            try:
                _check_line(line, qids, number, first_line)
            except ValueError as error:
                faults.add(number, str(error))
            clusters.append(qids)
    faults.finish(records=len(clusters))
    return clusters


def clusters_in_store(
    path: Path, store: QueriesWithPairs, *, note: Callable[[str], None] | None = None
) -> list[NDArray[np.int64]]:
    """The clusters of a file as query indices of a pair store, without queries that have no pairs; none is empty.

    Args:
        path: the cluster file.
        store: a `PairStore`.
        note: is told, in a sentence each, how many queries were left out and why; by default they are logged.

    Raises:
        TasbError: as `read_clusters`; or the store knows fewer than half of the qids, or none of the rest has pairs.
    """
    note = note or LOG.info
    clusters = read_clusters(path)
    sizes = [len(qids) for qids in clusters]
    indices = store.queries.indices([qid for qids in clusters for qid in qids])
    known = indices >= 0
    unknown = int(np.count_nonzero(~known))
    if unknown > LARGEST_UNKNOWN_SHARE * len(indices):
        raise TasbError(
            where=str(path),
            expected="clusters of the pair store's queries",
            found=f"{unknown} of {len(indices)} qids that the pair store lacks",
            do="cluster the queries of this pair store: `tasb cluster --topics PAIRSTORE`",
        )
    pairs = np.diff(store.offsets)
    usable = known.copy()
    usable[known] = pairs[indices[known]] > 0
    if not usable.any():
        raise TasbError(
            where=str(path),
            expected="clusters of queries that have pairs",
            found=f"{len(indices)} qids, none of them with pairs",
            do="cluster the queries of this pair store: `tasb cluster --topics PAIRSTORE`",
        )
    without_pairs = int(np.count_nonzero(known & ~usable))
    unclustered = int(np.count_nonzero(pairs) - np.count_nonzero(usable))
    if unknown:
        note(f"{path}: left out {unknown} qids that the pair store lacks")
    if without_pairs:
        note(f"{path}: left out {without_pairs} queries without pairs")
    if unclustered:
        note(f"{path}: {unclustered} queries with pairs are in no cluster, so they are never drawn")
    parts = np.split(np.arange(len(indices)), np.cumsum(sizes)[:-1])
    found = (indices[part[usable[part]]] for part in parts)
    return [cluster for cluster in found if len(cluster)]


def _check_line(line: str, qids: list[str], number: int, first_line: dict[str, int]) -> None:
    require_utf8(line)
    for qid in qids:
        if not _is_qid(qid):
            raise ValueError(f"the qid {qid!r} is empty or has white space in it")
        if qid in first_line:
            raise ValueError(f"query {qid} a second time, after line {first_line[qid]}")
        first_line[qid] = number


def _is_qid(qid: str) -> bool:
    return qid.split() == [qid]
