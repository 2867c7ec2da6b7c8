"""Lucene indexes of terms as stock Pyserini makes them, in this process: a JVM for each would take seconds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import prepare_java
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def documents_of() -> list[dict[str, str]]:
    """The documents of the tiny collection, title and text joined."""
    documents = [json.loads(line) for line in (TINY / "corpus.jsonl").open()]
    return [{"id": each["id"], "contents": f"{each['title']} {each['text']}"} for each in documents]


def write_lucene_folder(folder: Path, documents: Sequence[dict[str, str]]) -> Path:
    prepare_java()
    from pyserini.pyclass import autoclass

    corpus = folder.with_name(f"{folder.name}-corpus")
    corpus.mkdir(parents=True)
    (corpus / "documents.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    options = ["-collection", "JsonCollection", "-input", corpus, "-index", folder, "-threads", "1", "-storeRaw"]
    autoclass("io.anserini.index.IndexCollection").main(list(map(str, [*options, "-quiet"])))
    return folder
