"""The folder that `pyserini.search.faiss` opens: a flat inner-product index, `docid`, and our manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.encode.corpus.formats.docid_file import docid_file
from pyserini_tasb.index_manifest import write_index_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_folder import VectorFolder

ROWS = 4096


def write_faiss_flat(vectors: VectorFolder, folder: Path) -> None:
    """Write an `IndexFlatIP` of fp32, its docids and its manifest into an empty folder, in memory of constant size."""
    _write_index(vectors, folder)
    write_index_manifest(folder, vectors.encoders)


def _write_index(vectors: VectorFolder, folder: Path) -> None:
    import faiss

    header = flat_header(vectors.dimension, vectors.count)
    with docid_file(folder) as append_docids:
        if header is None:
            index = faiss.IndexFlatIP(vectors.dimension)
            for docids, block in vectors.blocks(ROWS):
                index.add(np.ascontiguousarray(block, dtype=np.float32))
                append_docids(docids)
            faiss.write_index(index, str(folder / "index"))
            return
        with (folder / "index").open("wb") as file:
            file.write(header)
            for docids, block in vectors.blocks(ROWS):
                file.write(np.ascontiguousarray(block, dtype="<f4").data)
                append_docids(docids)


def flat_header(dimension: int, count: int) -> bytes | None:
    """What stands before the vectors in Faiss's own file of a flat index; None if this Faiss writes something else.

    Faiss writes only what it holds in memory: 27 GB for MS MARCO. The file is a header, which has the number of vectors
    in two places, and the vectors.
    """
    return _header(dimension, count) if all(_is_as_expected(dimension, rows) for rows in (1, 3)) else None


def _header(dimension: int, count: int) -> bytes:
    import faiss

    empty = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dimension)).tobytes())
    # fourcc (4 bytes), dimension (4), vectors (8), …, at the end the size of what follows, in numbers.
    empty[8:16] = count.to_bytes(8, "little")
    empty[-8:] = (count * dimension).to_bytes(8, "little")
    return bytes(empty)


def _is_as_expected(dimension: int, rows: int) -> bool:
    import faiss

    vectors = np.arange(rows * dimension, dtype=np.float32).reshape(rows, dimension)
    index = faiss.IndexFlatIP(dimension)
    index.add(vectors)
    return bool(_header(dimension, rows) + vectors.tobytes() == faiss.serialize_index(index).tobytes())
