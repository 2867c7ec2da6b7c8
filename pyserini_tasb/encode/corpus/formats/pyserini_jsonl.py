"""`embeddings.jsonl` as `pyserini.encode` writes it and `pyserini.index.faiss` and Anserini's collections read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_folder import VectorFolder

# The fewest digits that read back as the same number, for every number of the type.
DIGITS = {"float32": 9, "float16": 5}


def write_pyserini_jsonl(vectors: VectorFolder, folder: Path) -> None:
    """Write `embeddings.jsonl` into an empty folder: `id`, `contents` (empty: nothing reads it), `vector`."""
    numbers = ", ".join([f"%.{DIGITS[vectors.dtype.name]}g"] * vectors.dimension)
    with (folder / "embeddings.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for docids, block in vectors.blocks(rows=1024):
            for docid, row in zip(docids, block.tolist(), strict=True):
                file.write(f'{{"id": {json.dumps(docid)}, "contents": "", "vector": [{numbers % tuple(row)}]}}\n')
