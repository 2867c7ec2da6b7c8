"""Lucene indexes as stock Pyserini makes them, in this process: one of its own would start Java each time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.processes import run_stock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def index_documents(folder: Path, documents: Iterable[dict[str, object]], *options: object) -> Path:
    """`pyserini.index.lucene` over documents in Pyserini's JSONL; the index."""
    (folder / "documents").mkdir(parents=True)
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (folder / "documents" / "documents.jsonl").write_text(lines)
    return index_folder(folder / "documents", folder / "index", *options)


def index_folder(documents: Path, index: Path, *options: object) -> Path:
    """`pyserini.index.lucene` over a folder of JSONL; the index."""
    kind = options or ("--collection", "JsonCollection", "--generator", "DefaultLuceneDocumentGenerator")
    run_stock("pyserini.index.lucene", "--input", documents, "--index", index, "--threads", 1, *kind)
    return index
