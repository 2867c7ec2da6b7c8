"""The vectors of a flat Faiss index, read from its file without Faiss."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.formats.arrays import mapped_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


FLAT = b"IxFI"
# Kind, dimension, vectors, two numbers without a meaning, whether it is trained, metric; then how many numbers follow.
HEADER = struct.Struct("<4siqqq?iQ")
INNER_PRODUCT = 0
# By how a kind begins: those that `tasb index` and Pyserini make.
KINDS = {
    b"IxF2": "a flat index of Euclidean distances (IndexFlatL2), whose ranking is another one",
    b"IxFl": "a flat index of another distance than the inner product",
    b"IHN": "a graph (HNSW), which does not compare a query with every vector",
    b"Iw": "inverted lists (IVF), which do not compare a query with every vector",
    b"IxSQ": "rounded vectors (a scalar quantiser), which only Faiss decodes",
    b"IxP": "codes (a product quantiser), which only Faiss decodes",
    b"IPf": "codes (a product quantiser), which only Faiss decodes",
    b"Ixr": "codes (RaBitQ), which only Faiss decodes",
    b"Irf": "codes (RaBitQ), which only Faiss decodes",
    b"IxRF": "an index of two stages (refined), which only Faiss searches",
    b"IxPT": "changed vectors (rotated, or of fewer numbers), which only Faiss searches",
    b"IxM": "an index with numbers of its own for the vectors, which only Faiss searches",
}


def is_flat(file: Path) -> bool:
    """True if it begins as the file of a flat index of inner products does."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(FLAT)) == FLAT
    except OSError:
        return False


def flat_vectors(file: Path) -> NDArray[np.float32]:
    """The vectors [n, dimension] of an `IndexFlatIP`, over the file: nothing is read yet.

    Faiss's own `write_index` writes such a file. It is a header of 45 bytes, and the vectors.

    Raises:
        TasbError: the file cannot be read, is of another kind, or has another size than its header says.
    """
    with (
        os_errors_explained(file, expected="a Faiss index", do="check the path and its permissions"),
        file.open("rb") as opened,
    ):
        header = opened.read(HEADER.size)
        size = opened.seek(0, 2)
    kind = header[: len(FLAT)]
    if kind != FLAT:
        known = (
            said for start, said in sorted(KINDS.items(), key=lambda each: -len(each[0])) if kind.startswith(start)
        )
        raise TasbError(
            where=str(file),
            expected="a flat Faiss index of inner products (IndexFlatIP), which torch can search",
            found=next(known, "another kind of index, or something else"),
            do=f"search it with {argument('search_with', 'faiss')}, or give the vectors that it was made of "
            "(`tasb encode`)",
        )
    if len(header) < HEADER.size:
        raise _damaged(file, "a header of 45 bytes", f"{size} bytes in all")
    _, dimension, count, _, _, _, metric, numbers = HEADER.unpack(header)
    if metric != INNER_PRODUCT or dimension < 1 or count < 0 or numbers != count * dimension:
        found = f"metric {metric}, {count} vectors, {dimension} dimensions, {numbers} numbers"
        raise _damaged(file, "metric 0, and as many numbers as vectors times dimensions", found)
    if size != HEADER.size + 4 * numbers:
        raise _damaged(file, f"{HEADER.size + 4 * numbers} bytes, for {count} vectors", f"{size} bytes")
    if not count:
        return np.empty((0, dimension), np.float32)
    return np.ndarray((count, dimension), "<f4", mapped_bytes(file).data, HEADER.size)


def _damaged(file: Path, expected: str, found: str) -> TasbError:
    do = "the file was cut off or is something else: copy or make it again"
    return TasbError(where=str(file), expected=expected, found=found, do=do)
