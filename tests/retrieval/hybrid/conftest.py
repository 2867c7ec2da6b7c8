"""The tiny collection, indexed in every way that a recipe can ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.command_line import tasb
from tests.conftest import TINY_MODEL
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder
from tests.retrieval.hybrid.lucene_indexes import index_documents

if TYPE_CHECKING:
    from pathlib import Path


IMPACT = ("--collection", "JsonVectorCollection", "--generator", "DefaultLuceneDocumentGenerator", "--impact", "--pretokenized")  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Indexes:
    """Folders, and what the impact index's encoder is."""

    faiss: Path
    lucene_flat: Path
    lucene_hnsw: Path
    bm25: Path
    doct5query: Path
    impact: Path
    encoded_queries: Path


@pytest.fixture(scope="session")
def indexes(collection, tmp_path_factory) -> Indexes:
    from pyserini_tasb import TasbDocumentEncoder

    folder = tmp_path_factory.mktemp("hybrid")
    vectors = TasbDocumentEncoder(f"tasb:{TINY_MODEL}").encode(texts=collection.texts, titles=collection.titles)
    write_vector_folder(folder / "vectors", collection.docids, vectors, unit_size=200)
    for kind in ("lucene-flat", "lucene-hnsw"):
        arguments = ["--vectors", folder / "vectors", "--output", folder / kind, "--kind", kind]
        assert tasb("index", *arguments) == 0
    passages = {
        docid: f"{title} {text}"
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True)
    }
    plain = [{"id": docid, "contents": text} for docid, text in passages.items()]
    expanded = [document | {"contents": f"{document['contents']} {len(document['id'])} computer"} for document in plain]
    weighted = [
        document | {"vector": {word.lower(): len(word) for word in document["contents"].split() if word.isalpha()}}
        for document in plain
    ]
    queries = folder / "queries.jsonl"
    with queries.open("w") as out:
        for text in collection.topics.values():
            weights = {word.lower(): 1 + len(word) % 3 for word in text.split()}
            out.write(json.dumps({"contents": text, "vector": weights}) + "\n")
    return Indexes(
        write_faiss_folder(folder / "faiss", collection.docids, vectors),
        folder / "lucene-flat",
        folder / "lucene-hnsw",
        index_documents(folder / "bm25", plain),
        index_documents(folder / "doct5query", expanded),
        index_documents(folder / "impact", weighted, *IMPACT),
        queries,
    )


@pytest.fixture
def write_recipe(tmp_path):
    def write(*inputs, **choices):
        path = tmp_path / "recipe.yaml"
        provenance = {"tuned": False, "source": "a test"}
        recipe = {"name": "recipe", "inputs": list(inputs), "method": "linear", "provenance": provenance}
        path.write_text(yaml.safe_dump(recipe | choices))
        return path

    return write
