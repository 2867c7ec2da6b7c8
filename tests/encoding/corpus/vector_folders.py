"""A vector folder of vectors in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.encoding.vectors import UNITS, VectorManifest, VectorUnit

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def write_vector_folder(
    folder: Path, docids: list[str], vectors: np.ndarray, about: dict[str, object] | None = None, unit_size: int = 50
) -> Path:
    (folder / UNITS).mkdir(parents=True)
    about = about or {"encoder": "tasb:test", "card": "0" * 64, "corpus": "1" * 64}
    manifest = VectorManifest(vectors.shape[1], vectors.dtype.name, len(docids), unit_size, about)
    manifest.write(folder)
    for number in range(manifest.units):
        rows = slice(number * unit_size, (number + 1) * unit_size)
        VectorUnit(folder, number, manifest.digest).write(docids[rows], vectors[rows])
    return folder
