"""A finished vector folder, read block by block: what `tasb encode` wrote."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encode.corpus.vector_manifest import ENCODERS, MANIFEST, read_vector_manifest
from pyserini_tasb.encode.corpus.vector_unit import VectorUnit
from pyserini_tasb.errors import TasbError
from pyserini_tasb.index_manifest import EncoderIdentity, encoders_in

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
        encoders: those that encoded them; empty in folders of earlier versions.

    Args:
        path: what `tasb encode` wrote. Sizes are checked; a unit's checksums are compared before it is first read.

    Raises:
        TasbError: not a vector folder, not finished, damaged, or with units of several models.
    """

    def __init__(self, path: Path) -> None:
        manifest = read_vector_manifest(path)
        self.path = path
        self.dimension, self.count = manifest.dimension, manifest.records
        self.dtype = np.dtype(manifest.dtype)
        self.about: dict[str, Any] = manifest.about
        self.encoders = self._read_encoders()
        self._verified: set[int] = set()
        self._verifying = threading.Lock()  # several threads may read the same folder
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

        Raises:
            TasbError: a unit differs from its checksums; none of its vectors were yielded.
        """
        for unit in self._units:
            self._verify(unit)
            # Opened anew each time: what a mapping has read stays in memory for as long as the mapping lives.
            docids, vectors = unit.docids(), unit.vectors()
            for start in range(0, len(docids), rows):
                yield docids[start : start + rows], vectors[start : start + rows]

    def verify(self) -> None:
        """Compare all units that were not read yet with their checksums.

        Raises:
            TasbError: naming the first that is different.
        """
        for unit in self._units:
            self._verify(unit)

    def _verify(self, unit: VectorUnit) -> None:
        with self._verifying:
            if unit.number not in self._verified:
                unit.verify()
                self._verified.add(unit.number)

    def _read_encoders(self) -> tuple[EncoderIdentity, ...]:
        try:
            return encoders_in(self.about.get(ENCODERS, ()))
        except TypeError as error:
            raise TasbError(
                where=str(self.path / MANIFEST),
                expected=f"`{ENCODERS}` as `tasb encode` writes them",
                found=str(error),
                do="the folder is damaged: encode the corpus again",
            ) from error
