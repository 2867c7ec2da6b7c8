"""Every format is searched by stock Pyserini and gives the dot products of the plain model."""

from __future__ import annotations

import json
import subprocess
import sys

import faiss
import numpy as np
import pytest

from pyserini_tasb.encoding import vector_formats
from pyserini_tasb.encoding.vector_formats import FORMATS
from pyserini_tasb.encoding.vectors import VectorFolder
from tests.command_line import parse
from tests.conftest import DIMENSION, TINY, TINY_MODEL, assert_top_hits, run_module
from tests.encoding.corpus.vector_folders import write_vector_folder

TOPICS = TINY / "topics.tsv"
LUCENE = (
    "import sys; from pyserini.pyclass import autoclass\n"
    "main = autoclass('io.anserini.index.IndexFlatDenseVectors').main\n"
    "for collection, source, index in zip(*[iter(sys.argv[1:])] * 3):\n"
    "    main(['-collection', collection, '-generator', 'DenseVectorDocumentGenerator',\n"
    "          '-input', source, '-index', index, '-threads', '1'])\n"
)


def test_the_registry_is_what_the_command_line_offers():
    given = ["encode", "--encoder", "e", "--corpus", "c", "--output", "o", "--output-format", *FORMATS]
    assert parse(*given).output_format == list(FORMATS)


def test_faiss_folder(encoded, expected_scores, tmp_path):
    run_module(
        "pyserini.search.faiss", "--topics", TOPICS, "--index", encoded / "faiss", "--encoder", TINY_MODEL,
        "--hits", 123, "--output", tmp_path / "run",
    )  # fmt: skip
    assert_top_hits(tmp_path / "run", expected_scores, 123)


def test_jsonl_into_faiss(encoded, tmp_path):
    run_module(
        "pyserini.index.faiss", "--input", encoded / "jsonl", "--output", tmp_path / "index", "--dim", DIMENSION,
        "--threads", 1,
    )  # fmt: skip
    for name in ("index", "docid"):
        assert (tmp_path / "index" / name).read_bytes() == (encoded / "faiss" / name).read_bytes()


@pytest.fixture(scope="module")
def lucene_indexes(encoded, tmp_path_factory, suitable_java):
    folder = tmp_path_factory.mktemp("lucene")
    jobs = [
        ("JsonVectorCollection", encoded / "jsonl", folder / "jsonl"),
        ("ParquetDenseVectorCollection", encoded / "parquet", folder / "parquet"),
    ]
    command = [sys.executable, "-c", LUCENE, *(str(word) for job in jobs for word in job)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_into_lucene(name, lucene_indexes, expected_scores, collection):
    from pyserini.search.lucene import LuceneFlatDenseSearcher

    from pyserini_tasb import TasbQueryEncoder

    searcher = LuceneFlatDenseSearcher(str(lucene_indexes / name), encoder=TasbQueryEncoder(str(TINY_MODEL)))
    for qid in ("19", *list(collection.topics)[:3]):
        hits = {hit.docid: hit.score for hit in searcher.search(collection.topics[qid], k=123)}
        assert hits == pytest.approx(expected_scores[qid], abs=1e-3)


def test_npy(encoded, collection):
    vectors = np.load(encoded / "npy" / "vectors.npy", mmap_mode="r", allow_pickle=False)
    index = faiss.read_index(str(encoded / "faiss" / "index"))
    assert np.array_equal(vectors, index.reconstruct_n(0, len(collection.docids)))
    for name in ("npy", "faiss"):
        assert (encoded / name / "docid").read_text().splitlines() == collection.docids


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("header", ["as it is", "of another Faiss"])
def test_the_index_is_faiss_own_file(dtype, header, tmp_path, monkeypatch):
    if header == "of another Faiss":
        monkeypatch.setattr(vector_formats, "_header", lambda *_: b"IxF2")
        assert vector_formats.flat_header(8, 1) is None
    vectors = np.random.default_rng(0).normal(size=(123, 8)).astype(dtype)
    folder = VectorFolder(write_vector_folder(tmp_path / "vectors", [f"d{n}" for n in range(123)], vectors))
    (tmp_path / "out").mkdir()
    vector_formats.write_faiss_flat(folder, tmp_path / "out")
    index = faiss.IndexFlatIP(8)
    index.add(vectors.astype(np.float32))
    assert (tmp_path / "out" / "index").read_bytes() == faiss.serialize_index(index).tobytes()


def test_numbers_in_json_are_exact(tmp_path):
    numbers = np.array([[0.1, -1e-30, 3.4e38, 1.0, 1 / 3, 2**-149, 0.0, -2.5]], dtype=np.float32)
    folder = VectorFolder(write_vector_folder(tmp_path / "vectors", ['"quoted"'], numbers))
    (tmp_path / "out").mkdir()
    FORMATS["jsonl"](folder, tmp_path / "out")
    row = json.loads((tmp_path / "out" / "embeddings.jsonl").read_text())
    assert row["id"] == '"quoted"'
    assert np.array_equal(np.array([row["vector"]], dtype=np.float32), numbers)


def test_parquet_without_pyarrow(encoded, tmp_path, monkeypatch):
    from pyserini_tasb.errors import TasbError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TasbError, match="pip install pyarrow"):
        FORMATS["parquet"](VectorFolder(encoded), tmp_path)
