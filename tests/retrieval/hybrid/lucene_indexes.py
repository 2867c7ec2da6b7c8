"""Lucene indexes as stock Pyserini makes them, in this process: one of its own would start Java each time."""

from __future__ import annotations

import json
import runpy
import sys
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.plugin.startup import register_encoders

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def run_stock(module: str, *arguments: object) -> None:
    """`python -m MODULE …`."""
    register_encoders()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *map(str, arguments)])
        runpy.run_module(f"{module}.__main__", run_name="__main__")


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
