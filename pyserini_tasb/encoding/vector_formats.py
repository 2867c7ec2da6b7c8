"""Files that other programs read, made of a finished vector folder block by block."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyserini_tasb.encoding.index_manifest import write_index_manifest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.arrays import ArrayFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.encoding.vectors import VectorFolder


ROWS = 4096
# The fewest digits that read back as the same number, for every number of the type.
DIGITS = {"float32": 9, "float16": 5}


def write_faiss_flat(vectors: VectorFolder, folder: Path) -> None:
    """Write what `pyserini.search.faiss` opens into an empty folder, in memory of constant size.

    That is an `IndexFlatIP` of fp32, its docids, and our manifest.
    """
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
    """The bytes before the vectors in Faiss's own file of a flat index; None if this Faiss writes something else.

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


def write_pyserini_jsonl(vectors: VectorFolder, folder: Path) -> None:
    """Write `embeddings.jsonl` into an empty folder: `id`, `contents` (empty: nothing reads it), `vector`.

    `pyserini.encode` writes such a file; `pyserini.index.faiss` and Anserini's collections read it.
    """
    numbers = ", ".join([f"%.{DIGITS[vectors.dtype.name]}g"] * vectors.dimension)
    with (folder / "embeddings.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for docids, block in vectors.blocks(rows=1024):
            for docid, row in zip(docids, block.tolist(), strict=True):
                file.write(f'{{"id": {json.dumps(docid)}, "contents": "", "vector": [{numbers % tuple(row)}]}}\n')


def write_parquet(vectors: VectorFolder, folder: Path) -> None:
    """Write `vectors.parquet` into an empty folder: `docid`, a string, and `vector`, a list of fp32.

    These are the columns that Anserini's `ParquetDenseVectorCollection` reads by default.

    Raises:
        TasbError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise TasbError(
            expected="the package `pyarrow`, which writes Parquet",
            found="it is not installed",
            do="pip install pyarrow, then repeat the command: nothing is encoded a second time",
        ) from error
    schema = pa.schema([("docid", pa.string()), ("vector", pa.list_(pa.float32()))])
    # Vectors neither repeat nor compress: a dictionary and a codec would cost time for nothing.
    with pq.ParquetWriter(folder / "vectors.parquet", schema, use_dictionary=False, compression="none") as writer:
        for docids, block in vectors.blocks(rows=ROWS):
            offsets = np.arange(0, block.size + 1, vectors.dimension, dtype=np.int32)
            numbers = pa.array(np.asarray(block, dtype=np.float32).reshape(-1))
            rows = pa.ListArray.from_arrays(pa.array(offsets), numbers)
            writer.write_table(pa.table([pa.array(docids, pa.string()), rows], schema=schema), row_group_size=ROWS)


def write_npy(vectors: VectorFolder, folder: Path) -> None:
    """Write `vectors.npy` [passages, dimension], as stored, and `docid` into an empty folder."""
    with (
        ArrayFile(folder / "vectors.npy", vectors.dtype, vectors.dimension) as file,
        docid_file(folder) as append_docids,
    ):
        for docids, block in vectors.blocks():
            file.append(block)
            append_docids(docids)


@contextlib.contextmanager
def docid_file(folder: Path) -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that appends docids to the file `docid` of a folder."""
    with (folder / "docid").open("w", encoding="utf-8", newline="\n") as file:
        yield lambda docids: file.writelines(f"{docid}\n" for docid in docids)


VectorFormat = Literal["faiss", "jsonl", "parquet", "npy"]
FORMATS: dict[str, Callable[[VectorFolder, Path], None]] = {
    "faiss": write_faiss_flat,
    "jsonl": write_pyserini_jsonl,
    "parquet": write_parquet,
    "npy": write_npy,
}
