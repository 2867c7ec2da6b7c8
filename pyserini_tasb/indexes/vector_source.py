"""Where vectors come from: what `tasb encode` wrote, or a flat Faiss index as Pyserini writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyserini_tasb.encoding.index_manifest import index_encoders, verify_index
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.faiss_folder import INDEX, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.index_manifest import EncoderIdentity
    from pyserini_tasb.encoding.vectors import VectorFolder


ROWS_AT_ONCE = 65_536


class VectorSource(Protocol):
    """Docids and vectors, in the corpus's order."""

    @property
    def dimension(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def encoders(self) -> tuple[EncoderIdentity, ...]:
        """The encoders that made the vectors; empty if they are unknown."""
        ...

    def blocks(self, rows: int = ROWS_AT_ONCE) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Docids and vectors [at most rows, dimension], until all have come."""
        ...


class FlatIndexVectors:
    """The vectors of a flat Faiss folder, which keeps them as they are; read from the file block by block.

    Raises:
        TasbError: not a Faiss folder, a damaged one, or an index that keeps something else than the vectors.
    """

    def __init__(self, path: Path) -> None:
        import faiss

        self._folder = open_folder(path)
        if not isinstance(self._folder.index, faiss.IndexFlat):
            raise TasbError(
                where=str(path / INDEX),
                expected="a flat index, which keeps the vectors as they are",
                found=type(self._folder.index).__name__,
                do="give the vectors that it was made of (`tasb encode`, or `pyserini.encode … output --to-faiss`)",
            )
        self.dimension = int(self._folder.index.d)
        self.count = int(self._folder.index.ntotal)
        self.encoders = index_encoders(path)
        verify_index(path)

    def blocks(self, rows: int = ROWS_AT_ONCE) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Docids and vectors [at most rows, dimension], until all have come."""
        for start in range(0, self.count, rows):
            size = min(rows, self.count - start)
            yield list(self._folder.docids[start : start + size]), self._folder.index.reconstruct_n(start, size)


def open_vectors(path: Path) -> VectorSource:
    """The vectors in a folder.

    Raises:
        TasbError: neither kind of folder, an unfinished or damaged one, or no vectors in it.
    """
    from pyserini_tasb.encoding.vectors import VectorFolder

    source: VectorSource = FlatIndexVectors(path) if (path / INDEX).is_file() else VectorFolder(path)
    if isinstance(source, VectorFolder):
        require_passages(source)
    if not source.count:
        raise TasbError(
            where=str(path), expected="vectors", found="none", do="encode a corpus that has documents (`tasb encode`)"
        )
    return source


def require_passages(folder: VectorFolder) -> None:
    """Refuse vectors of queries.

    Raises:
        TasbError: the folder has them.
    """
    if folder.kind != "passage":
        raise TasbError(
            where=str(folder.path),
            expected="vectors of passages",
            found="vectors of queries",
            do=f"give the folder of a corpus that was encoded without {argument('kind', 'query')}",
        )


def sampled_rows(source: VectorSource, count: int, seed: int) -> NDArray[np.float32]:
    """Vectors [min(count, all), dimension] drawn at random without repetition, in the corpus's order."""
    drawn = np.random.default_rng(seed).choice(source.count, min(count, source.count), replace=False)
    drawn.sort()
    sample = np.empty((len(drawn), source.dimension), np.float32)
    start = 0
    for _, vectors in source.blocks():
        first, last = np.searchsorted(drawn, (start, start + len(vectors)))
        sample[first:last] = vectors[drawn[first:last] - start]
        start += len(vectors)
    return sample
