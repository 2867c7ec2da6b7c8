"""Flat Faiss folders as Pyserini writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np


def write_faiss_folder(folder: Path, docids: Sequence[str], vectors: np.ndarray, factory: str = "Flat") -> Path:
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if len(vectors):
        index.train(vectors)
        index.add(vectors)
    folder.mkdir(parents=True)
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{docid}\n" for docid in docids))
    return folder
