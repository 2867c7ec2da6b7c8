"""Parquet with the columns that Anserini's `ParquetDenseVectorCollection` reads by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_folder import VectorFolder

ROWS = 4096


def write_parquet(vectors: VectorFolder, folder: Path) -> None:
    """Write `vectors.parquet` into an empty folder: `docid`, a string, and `vector`, a list of fp32.

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
            do="pip install pyarrow, then give the same command again: nothing is encoded a second time",
        ) from error
    schema = pa.schema([("docid", pa.string()), ("vector", pa.list_(pa.float32()))])
    # Vectors neither repeat nor compress: a dictionary and a codec would cost time for nothing.
    with pq.ParquetWriter(folder / "vectors.parquet", schema, use_dictionary=False, compression="none") as writer:
        for docids, block in vectors.blocks(rows=ROWS):
            offsets = np.arange(0, block.size + 1, vectors.dimension, dtype=np.int32)
            numbers = pa.array(np.asarray(block, dtype=np.float32).reshape(-1))
            rows = pa.ListArray.from_arrays(pa.array(offsets), numbers)
            writer.write_table(pa.table([pa.array(docids, pa.string()), rows], schema=schema), row_group_size=ROWS)
