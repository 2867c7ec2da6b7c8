"""Files that others read, made of a finished vector folder block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.formats.faiss_flat import write_faiss_flat
from pyserini_tasb.encode.corpus.formats.npy import write_npy
from pyserini_tasb.encode.corpus.formats.parquet import write_parquet
from pyserini_tasb.encode.corpus.formats.pyserini_jsonl import write_pyserini_jsonl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_folder import VectorFolder

FORMATS: dict[str, Callable[[VectorFolder, Path], None]] = {
    "faiss": write_faiss_flat,
    "jsonl": write_pyserini_jsonl,
    "parquet": write_parquet,
    "npy": write_npy,
}
