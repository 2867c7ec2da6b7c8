"""A finished vector folder, read block by block: what `tasb encode` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encode.corpus.vector_manifest import read_vector_manifest
from pyserini_tasb.encode.corpus.vector_unit import VectorUnit
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


class VectorFolder:
    """The vectors of a corpus, in its order.

    Attributes:
        path: the folder.
        dimension: of each vector.
        count: how many there are.
        dtype: in which they are stored, float32 or float16.
        about: what they are of: `card` and `corpus` (digests), `encoder`, `max_length`, `precision`.

    Args:
        path: what `tasb encode` wrote. Sizes are looked at; `verify` compares checksums.

    Raises:
        TasbError: not a vector folder, not finished, damaged, or with units of several models.
    """

    def __init__(self, path: Path) -> None:
        manifest = read_vector_manifest(path)
        self.path = path
        self.dimension, self.count = manifest.dimension, manifest.records
        self.dtype = np.dtype(manifest.dtype)
        self.about: dict[str, Any] = manifest.about
        self._units = [VectorUnit(path, number, manifest.digest) for number in range(manifest.units)]
        missing = [f"{unit.number:06}" for unit in self._units if not unit.finished]
        if missing:
            raise TasbError(
                where=str(path),
                expected=f"{manifest.units} finished units",
                found=f"{len(missing)} not finished: {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}",
                do="give the `tasb encode` command again: it goes on where it stopped",
            )
        for unit in self._units:
            unit.require_whole(manifest.rows(unit.number))

    def blocks(self, rows: int = 65_536) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Docids and vectors [docids, dimension], in corpus order; the vectors are as stored, over the files.

        Args:
            rows: at most so many in a block.
        """
        for unit in self._units:
            # Opened anew each time: what a mapping has read stays in memory for as long as the mapping lives.
            docids, vectors = unit.docids(), unit.vectors()
            for start in range(0, len(docids), rows):
                yield docids[start : start + rows], vectors[start : start + rows]

    def verify(self) -> None:
        """Compare every file with its checksum; reads all of them.

        Raises:
            TasbError: naming the first that is different.
        """
        for unit in self._units:
            unit.verify()
