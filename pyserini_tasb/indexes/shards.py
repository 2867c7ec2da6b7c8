"""The shards of an index, of vectors or Lucene's of terms: their kind, the memory they need, their search."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from pyserini_tasb.encoding.vectors import UNITS
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import FAISS, LUCENE, another_folder, at_home
from pyserini_tasb.indexes.bm25 import Bm25, Bm25Shards
from pyserini_tasb.indexes.faiss_folder import DOCID, INDEX, is_faiss_folder, is_lucene_folder
from pyserini_tasb.indexes.opening import DenseSearch, has_faiss, is_vector_folder
from pyserini_tasb.indexes.rankings import Ranking, merged
from pyserini_tasb.indexes.search import ShardedIndex, search_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.indexes.faiss_folder import OpenFolder


TORCH = "torch"
# Of a process that has opened an index of a few documents; torch needs space for the scores of a batch, too.
PROCESS_BYTES = {FAISS: 300_000_000, TORCH: 600_000_000, LUCENE: 800_000_000}
# Stored text is read for hits only.
STORED_TEXT = ".fdt"
WILDCARDS = re.compile(r"[*?[]")


def shard_paths(index: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[Path]:
    """The folders of an index: each as given, or all that a pattern such as `shards/*` matches, by their names.

    Raises:
        TasbError: a pattern matches no folder.
    """
    paths: list[Path] = []
    for given in [index] if isinstance(index, str | PathLike) else index:
        path = at_home(given)
        if path.is_dir() or not WILDCARDS.search(path.name):
            paths.append(path)
            continue
        found = sorted(each for each in path.parent.glob(path.name) if each.is_dir())
        if not found:
            raise TasbError(
                where=str(path),
                expected="a pattern that matches at least one folder",
                found="none",
                do="check the path: `ls -d` lists what a pattern matches",
            )
        paths += found
    return paths


def kind_of_shards(paths: Sequence[Path]) -> str:
    """`FAISS` or `LUCENE`, the kind of all. Vector folders, which torch searches, count as `FAISS`.

    Raises:
        TasbError: a path is neither, or they are of both kinds.
    """
    kinds = {}
    for path in paths:
        if is_faiss_folder(path) or is_vector_folder(path):
            kinds[FAISS] = path
        elif is_lucene_folder(path):
            kinds[LUCENE] = path
        else:
            found, do = another_folder(path, FAISS, "check the path")
            expected = "a Faiss folder with the files `index` and `docid`, or a Lucene index of terms"
            raise TasbError(where=str(path), expected=expected, found=found, do=do)
    if len(kinds) > 1:
        raise TasbError(
            expected=f"{argument('index')} of one kind",
            found=" and ".join(f"{kind} ({path})" for kind, path in kinds.items()),
            do="search each kind by itself and fuse the runs (`tasb fuse`), or do both in one step (`tasb hybrid`)",
        )
    return next(iter(kinds))


def memory_needed(path: Path, kind: str, how: DenseSearch = DenseSearch()) -> int:  # noqa: B008 - immutable
    """Bytes of memory in which a shard is searched without reading it from the disk again and again.

    Of a Faiss or vector folder, the vectors and docids, the place of each docid, and, in half precision, the rounded
    vectors. Of a Lucene index, all but the stored text.
    """
    vectors = is_vector_folder(path)
    folder = path / UNITS if vectors else path
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    if kind == LUCENE:
        return sum(size for name, size in sizes.items() if not name.endswith(STORED_TEXT))
    ends = (".npy", ".docids") if vectors else (INDEX, DOCID)
    of_vectors, of_docids = (sum(size for name, size in sizes.items() if name.endswith(end)) for end in ends)
    return of_vectors + 2 * of_docids + (0 if how.precision == "fp32" else of_vectors // 2)


class Shards(Protocol):
    """Some shards of an index, open."""

    def search(self, queries: Any, depth: int, bm25: Bm25 | None = None) -> list[Ranking]:
        """Each query's best `depth` documents of these shards.

        Args:
            queries: vectors [queries, dimension], or texts for Lucene.
            depth: how many.
            bm25: for Lucene, other parameters than the usual ones.
        """
        ...


class VectorShards:
    """Faiss and vector folders that stay open.

    Args:
        paths: the folders.
        dimension: the dimension of the queries.
        how: what searches all of them, or each.
        threads: the threads that search, at most one folder each. Faiss searches for one query in one thread, so that
            only several folders answer it faster. If there are fewer folders, the queries of a batch are divided, too.

    Raises:
        TasbError: not such a folder, a damaged one, or one of another dimension.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        dimension: int,
        how: DenseSearch | Sequence[DenseSearch] = DenseSearch(),  # noqa: B008 - immutable
        *,
        threads: int = 1,
    ) -> None:
        at_once = max(1, min(threads, len(paths)))
        ways = [how] * len(paths) if isinstance(how, DenseSearch) else how
        self._folders = [
            ShardedIndex([path], replace(way, threads=max(1, threads // at_once))).open(0, dimension)
            for path, way in zip(paths, ways, strict=True)
        ]
        # Each thread of ours has its own number of OpenMP's threads.
        self._pool = ThreadPoolExecutor(at_once, initializer=_use_threads, initargs=(threads // at_once,))

    def search(self, queries: NDArray[np.float32], depth: int, bm25: Bm25 | None = None) -> list[Ranking]:
        """See `Shards`; by score and then docid, both descending."""
        answers = self._pool.map(lambda folder: _rankings(folder, queries, depth), self._folders)
        return [merged(rankings, depth) for rankings in zip(*answers, strict=True)]


def _use_threads(count: int) -> None:
    if has_faiss():  # torch is told with each search
        import faiss

        faiss.omp_set_num_threads(count)


def _rankings(folder: OpenFolder, queries: NDArray[np.float32], depth: int) -> list[Ranking]:
    found = search_folder(folder, queries, depth)
    return [Ranking(hits.scores, [folder.docids[row] for row in hits.rows.tolist()]) for hits in found]


class LuceneShards:
    """Lucene indexes of terms, searched by BM25 with the statistics of all shards.

    Args:
        paths: all shards.
        own: the numbers of those that are searched here; by default all.
        bm25: the parameters.

    Raises:
        TasbError: see `Bm25Shards`.
    """

    def __init__(self, paths: Sequence[Path], own: Iterable[int] | None = None, *, bm25: Bm25 = Bm25()) -> None:  # noqa: B008 - immutable
        self._shards = Bm25Shards(paths, own, bm25=bm25)

    def search(self, queries: Sequence[str], depth: int, bm25: Bm25 | None = None) -> list[Ranking]:
        """See `Shards`; by score, descending, and then docid, ascending, with all digits of a score."""
        return [self._shards.search(query, depth, bm25) for query in queries]

    def search_batches(self, batches: Iterable[Sequence[str]], depth: int) -> Iterator[list[Ranking]]:
        """The same for one batch of queries after the other."""
        return (self.search(batch, depth) for batch in batches)

    def documents(self, docids: Iterable[str]) -> dict[str, str | None]:
        """Docid → what is stored of the document, of those that the searched shards have."""
        return self._shards.documents(docids)
