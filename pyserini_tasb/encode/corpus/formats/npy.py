"""`vectors.npy`, as stored, to be mapped by NumPy; and `docid`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.formats.docid_file import docid_file
from pyserini_tasb.texts.array_files import ArrayFile

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_folder import VectorFolder


def write_npy(vectors: VectorFolder, folder: Path) -> None:
    """Write `vectors.npy` [passages, dimension] and `docid` into an empty folder."""
    with (
        ArrayFile(folder / "vectors.npy", vectors.dtype, vectors.dimension) as file,
        docid_file(folder) as append_docids,
    ):
        for docids, block in vectors.blocks():
            file.append(block)
            append_docids(docids)
