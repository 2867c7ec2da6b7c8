"""Folders of vectors searched as one. A query's hits do not depend on the other queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.faiss_folder import JoinedDocids
from pyserini_tasb.indexes.opening import DenseSearch, docids_of
from pyserini_tasb.indexes.quality import faiss_advice, short_lists_warning
from pyserini_tasb.indexes.rankings import best_of_each
from pyserini_tasb.indexes.torch_search import TorchFlat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.faiss_folder import OpenFolder


# An equal hit can stand so many times the largest difference between first and second scores below the last hit.
NOISE_MARGIN = 10


class ShardedIndex:
    """Folders of vectors as one index, of which one is open at a time.

    What is found is what one index of all their vectors would find, scores and order.
    A docid that several shards have is one document, with its best score.

    Args:
        paths: the folders, of vectors by one model.
        how: what searches them.

    Attributes:
        docids: the docids of all shards, one after the other.

    Raises:
        TasbError: a folder of another kind.
    """

    def __init__(self, paths: Sequence[Path], how: DenseSearch = DenseSearch()) -> None:  # noqa: B008 - immutable
        self.paths = list(paths)
        self._how = how
        self.docids = JoinedDocids([docids_of(path) for path in paths])

    def open(self, shard: int, dimension: int) -> OpenFolder:
        """One of the folders, for queries of a dimension.

        Raises:
            TasbError: it is damaged, or has vectors of another dimension.
        """
        path = self.paths[shard]
        folder = self._how.open(path)
        if folder.index.d != dimension:
            raise TasbError(
                where=str(path),
                expected=f"vectors of {dimension} dimensions, as this query encoder makes them",
                found=f"an index of {folder.index.d}-dimensional vectors",
                do="search with the encoder that the index was made with",
            )
        return folder

    def search(self, queries: NDArray[np.float32], depth: int, batch_size: int) -> list[Hits]:
        """Each query's best `depth` documents, by score and then docid, both descending; rows are those of `docids`.

        Args:
            queries: [queries, dimension].
            depth: how many.
            batch_size: queries that are searched together.

        Raises:
            TasbError: a damaged folder, or vectors of another dimension.
        """
        from tqdm.auto import tqdm

        found = [NO_HITS] * len(queries)
        with tqdm(total=len(self.paths) * len(queries), desc="searching", unit=" queries") as progress:
            for shard in range(len(self.paths)):
                for batch, hits in self._search_one(shard, queries, depth, batch_size):
                    found[batch] = self.merged(found[batch], hits, shard, depth)
                    progress.update(len(hits))
        return found

    def short_lists_warning(self, lengths: Sequence[int], depth: int, dimension: int) -> str:
        """A warning about lists of a search that are shorter than asked, with what to do; empty if none is.

        Args:
            lengths: how many documents were found for each query.
            depth: the requested number of documents.
            dimension: the dimension of the queries.
        """
        if min(lengths, default=depth) >= depth:
            return ""
        return short_lists_warning(lengths, depth, self.docids, faiss_advice(self.open(0, dimension).index))

    def _search_one(
        self, shard: int, queries: NDArray[np.float32], depth: int, batch_size: int
    ) -> Iterator[tuple[slice, list[Hits]]]:
        # Of its own, so that the folder is let go before the next one is opened.
        folder = self.open(shard, queries.shape[1])
        for first in range(0, len(queries), batch_size):
            batch = slice(first, first + batch_size)
            yield batch, search_folder(folder, queries[batch], depth)

    def merged(self, before: Sequence[Hits], hits: Sequence[Hits], shard: int, depth: int) -> list[Hits]:
        """The best `depth` of each query, of what earlier shards have found and of one shard's own hits."""
        return [
            these.and_more(Hits(those.scores, those.rows + self.docids.starts[shard])).ranked(self.docids, depth)
            for these, those in zip(before, hits, strict=True)
        ]


def search_folder(folder: OpenFolder, queries: NDArray[np.float32], depth: int) -> list[Hits]:
    """Each query's best `depth` documents of one index, ranked as trec_eval does; rows are those of the index.

    What is found does not depend on what else is searched. Faiss by itself does not say which of equal scores it keeps,
    and multiplies single queries, batches, and the last vectors of a block in different ways, so that scores differ in
    their last bits. Here a flat index scores its hits again one by one, and a list that ends in a tie is searched for
    further. `TorchFlat` scores again by itself.

    Args:
        folder: the open index.
        queries: [queries, dimension].
        depth: how many documents, each docid counted once.
    """
    found: list[Hits | None] = [None] * len(queries)
    remaining = np.arange(len(queries))
    beyond = depth + depth // 8 + 16
    while len(remaining):
        beyond = min(beyond, int(folder.index.ntotal))
        for query, (hits, is_whole) in zip(remaining, _search(folder, queries[remaining], depth, beyond), strict=True):
            found[query] = hits if is_whole or beyond == folder.index.ntotal else None
        remaining = np.array([query for query in remaining if found[query] is None], np.int64)
        beyond *= 2
    return [hits for hits in found if hits is not None]


def _search(folder: OpenFolder, queries: NDArray[np.float32], depth: int, beyond: int) -> Iterator[tuple[Hits, bool]]:
    """The best documents among the `beyond` best vectors, and whether no other vector can be among them."""
    first, rows = folder.index.search(queries, beyond)
    scores = _scored_again(folder.index, queries, rows)
    if scores is None:
        scores, noise = first, np.zeros(len(queries), np.float32)
    else:
        noise = NOISE_MARGIN * np.abs(scores - first).max(axis=1)
    for query in range(len(queries)):
        there = rows[query] >= 0  # an index that looks into a part of itself may find too few
        hits = Hits(scores[query, there], rows[query, there]).ranked(folder.docids, depth)
        searched_all = not there.all()
        yield hits, searched_all or (len(hits) == depth and first[query, -1] < hits.scores[-1] - noise[query])


def _scored_again(index: Any, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Inner products of queries with some rows each, in the same way for any number of queries; flat indexes only."""
    if isinstance(index, TorchFlat):  # which has done this
        return None
    import faiss

    flat: Any = index
    if not isinstance(index, faiss.IndexFlat):  # all others compare one by one in the first place
        return None
    scores = np.empty(rows.shape, np.float32)
    vectors = np.ascontiguousarray(queries, np.float32)
    flat.compute_distance_subset(
        len(vectors), faiss.swig_ptr(vectors), rows.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(rows)
    )
    return scores


@dataclass(frozen=True)
class Hits:
    """The hits of one query; 12 bytes each.

    Args:
        scores: [hits] inner products.
        rows: [hits] of a list of docids.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def and_more(self, others: Hits) -> Hits:
        """Both, in no order."""
        return Hits(np.append(self.scores, others.scores), np.append(self.rows, others.rows))

    def ranked(self, docids: Sequence[str], depth: int) -> Hits:
        """The best `depth`; of a docid that is there several times, the best score.

        Args:
            docids: the docid of each row.
            depth: how many at most.
        """
        kept = best_of_each(self.scores, [docids[row] for row in self.rows.tolist()], depth)
        return Hits(self.scores[kept], self.rows[kept])

    def without(self, docid: str, docids: Sequence[str], depth: int) -> Hits:
        """The first `depth` hits that do not have the given docid, in their order.

        Args:
            docid: the one that is dropped.
            docids: the docid of each row.
            depth: how many at most.
        """
        kept = [position for position, row in enumerate(self.rows.tolist()) if docids[row] != docid][:depth]
        return Hits(self.scores[kept], self.rows[kept])


NO_HITS = Hits(np.empty(0, np.float32), np.empty(0, np.int64))
