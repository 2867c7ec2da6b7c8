"""Several Faiss folders searched as one; one of them is open at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, overload

from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.faiss_folder import open_docids, open_folder
from pyserini_tasb.index.ranking import NO_HITS, Hits
from pyserini_tasb.index.search import search_folder
from pyserini_tasb.index.weakness import faiss_advice, short_lists_warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.index.docid_file import DocidFile
    from pyserini_tasb.index.faiss_folder import FaissFolder


class ShardedIndex:
    """Faiss folders as one index: what is found is what one index of all their vectors would find, scores and order.

    A docid that several shards have is one document, with its best score.

    Args:
        paths: the folders, of vectors by one model.
        mapped: leave the vectors in the files; otherwise each index is read whole when its turn comes.

    Attributes:
        docids: of all shards, one after the other.

    Raises:
        TasbError: not a Faiss folder.
    """

    def __init__(self, paths: Sequence[Path], *, mapped: bool = True) -> None:
        self.paths = list(paths)
        self._mapped = mapped
        self.docids = JoinedDocids([open_docids(path) for path in paths])

    def open(self, shard: int, dimension: int) -> FaissFolder:
        """One of the folders, for queries of a dimension.

        Raises:
            TasbError: it is damaged, or has vectors of another dimension.
        """
        path = self.paths[shard]
        folder = open_folder(path, mapped=self._mapped)
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
        found = [NO_HITS] * len(queries)
        with tqdm(total=len(self.paths) * len(queries), desc="searching", unit=" queries") as progress:
            for shard in range(len(self.paths)):
                for batch, hits in self._search_one(shard, queries, depth, batch_size):
                    found[batch] = self.merged(found[batch], hits, shard, depth)
                    progress.update(len(hits))
        return found

    def short_lists_warning(self, found: Sequence[Hits], depth: int, dimension: int) -> str:
        """A warning about lists of a search that are shorter than asked, with what to do; empty if none is.

        Args:
            found: what `search` found.
            depth: that it was asked for.
            dimension: of the queries.
        """
        lengths = [len(hits) for hits in found]
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


class JoinedDocids(Sequence[str]):
    """Docids of several files, one after the other.

    Attributes:
        starts: how many are before those of each file.
    """

    def __init__(self, files: Sequence[DocidFile]) -> None:
        self._files = files
        *self.starts, self._count = accumulate(map(len, files), initial=0)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        file = bisect_right(self.starts, row) - 1
        return self._files[file][row - self.starts[file]]
