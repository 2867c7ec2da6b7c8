"""Missing and missed hits are pointed at, with what to do about them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyserini_tasb.indexes.quality import short_lists_warning
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder

ENCODER = f"tasb:{TINY_MODEL}"


def build(vectors, output, *options):
    assert tasb("index", "--vectors", vectors, "--output", output, "--threads", 1, *options) == 0
    return json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Vectors whose lengths are spread as a log-normal distribution, and ten queries' neighbours among them."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((6_000, 32)) * random.lognormal(0, 1, (6_000, 1))
    docids = [f"d{number}" for number in range(len(vectors))]
    return write_vector_folder(
        tmp_path_factory.mktemp("many") / "vectors", docids, vectors.astype(np.float32), None, 5_000
    )


@pytest.fixture(scope="module")
def few_long(tmp_path_factory):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((6_000, 32))
    vectors[:5] *= 200
    docids = [f"d{number}" for number in range(len(vectors))]
    return write_vector_folder(
        tmp_path_factory.mktemp("long") / "vectors", docids, vectors.astype(np.float32), None, 5_000
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (["--kind", "IVF128,Flat", "--parameters", "nprobe=2"], r"--parameters nprobe=8 (now 2 of 128 lists"),
        (["--kind", "HNSW4", "--parameters", "efSearch=4"], "--parameters efSearch=16"),
        (["--kind", "PQ4x4"], "--refine fp16"),
        (["--kind", "PQ4x4", "--refine", "fp16"], "--parameters k_factor_rf=16"),
    ],
)
def test_low_recall_is_a_warning(kind, said, many, tmp_path, capsys):
    report = build(many, tmp_path / "index", *kind)
    recall = report["quality"]["recall"]
    assert list(recall) == ["10", "100", "1000"]
    assert min(recall.values()) < 0.9
    warned = capsys.readouterr().err
    assert "tasb index: warning: weak answers: recall@" in warned
    assert said in warned
    assert said in report["warning"]
    assert "another --kind" in warned


def test_five_long_vectors_among_thousands(few_long, tmp_path, capsys):
    report = build(few_long, tmp_path / "int8", "--kind", "int8")
    assert report["quality"]["recall"]["10"] < 0.9
    said = capsys.readouterr().err
    assert "--refine fp16" in said
    assert "--kind RR,RaBitQ8" in said
    by_length = build(few_long, tmp_path / "rabitq", "--kind", "RR,RaBitQ8")
    assert by_length["quality"]["recall"]["10"] > 0.97
    capsys.readouterr()
    refined = build(few_long, tmp_path / "flat", "--kind", "fp16")
    assert refined["warning"] == ""
    assert "warning" not in capsys.readouterr().err


def test_each_depth_is_measured_by_a_search_of_that_depth(many, tmp_path):
    # A search for 1,000 ranks 4,000 candidates again, and so would find more of the best ten than one for ten does.
    recall = build(many, tmp_path / "index", "--kind", "PQ4x4", "--refine", "fp32")["quality"]["recall"]
    assert recall["10"] < recall["100"] < recall["1000"]


def test_short_lists_are_a_warning_of_the_index(many, tmp_path, capsys):
    quality = build(many, tmp_path / "index", "--kind", "IVF128,Flat", "--parameters", "nprobe=4")["quality"]
    assert quality["hits"]["10"] == 10
    assert quality["hits"]["1000"] < 1_000
    assert f"a search for 1,000 hits finds {quality['hits']['1000']:,.0f} on average" in capsys.readouterr().err


def test_a_collection_smaller_than_the_depth(tmp_path, capsys):
    vectors = np.random.default_rng(0).standard_normal((7, 8), dtype=np.float32)
    write_vector_folder(tmp_path / "vectors", list("abcdefg"), vectors)
    for kind in ("flat", "hnsw", "ivf"):
        report = build(tmp_path / "vectors", tmp_path / kind, "--kind", kind)
        assert report["quality"]["recall"] == {"10": 1, "100": 1, "1000": 1}
        assert report["quality"]["hits"] == {"10": 7, "100": 7, "1000": 7}
        assert report["warning"] == ""
    assert "warning" not in capsys.readouterr().err
    short = build(tmp_path / "vectors", tmp_path / "short", "--kind", "IVF3,Flat", "--parameters", "nprobe=1")
    assert short["quality"]["recall"]["1000"] < 0.9
    assert "a search for 7 hits finds" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lucene-flat", "lucene-hnsw"])
def test_lucene_gives_as_many_as_asked(kind, many, tmp_path, capsys):
    report = build(many, tmp_path / "index", "--kind", kind)
    assert report["quality"]["hits"] == {"10": 10, "100": 100, "1000": 1_000}
    assert "finds" not in capsys.readouterr().err


def search(run, *indexes, hits=1_000):
    where = ["--encoder", ENCODER, "--topics", TINY / "topics.tsv", "--output", run, "--overwrite", "--hits", hits]
    return tasb("search", "--index", *indexes, *where)


def test_search_says_that_lists_are_short(vectors, tmp_path, capsys):
    ivf = write_faiss_folder(tmp_path / "ivf", vectors.docids, vectors.vectors, "IVF16,Flat")
    assert search(tmp_path / "run", ivf) == 0
    lengths = [len(hits) for hits in read_scores(tmp_path / "run").values()]
    said = capsys.readouterr().err
    assert (
        f"tasb search: warning: 10 of 10 queries have fewer than 523 hits ({sum(lengths) / 10:,.0f} on average)" in said
    )
    assert "--parameters nprobe=4 (now 1 of 16 lists" in said
    assert search(tmp_path / "run", ivf, hits=1) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_list_of_all_documents_is_not_short(vectors, tmp_path, capsys):
    flat = write_faiss_folder(tmp_path / "flat", vectors.docids, vectors.vectors)
    twice = write_faiss_folder(tmp_path / "twice", ["a", "b"] * 100, vectors.vectors[:200])
    assert search(tmp_path / "run", flat) == 0
    assert search(tmp_path / "run", twice) == 0
    assert search(tmp_path / "run", twice, twice) == 0
    assert "warning" not in capsys.readouterr().err
    assert short_lists_warning([], 10, [], "") == ""


def test_hybrid_and_mining_say_it(vectors, lucene_index, tmp_path, capsys):
    ivf = write_faiss_folder(tmp_path / "ivf", vectors.docids, vectors.vectors, "IVF16,Flat")
    topics = ["--topics", TINY / "topics.tsv"]
    given = ["--sparse-index", lucene_index, "--encoder", ENCODER, "--output", tmp_path / "run", "--batch-size", 3]
    assert tasb("hybrid", "--recipe", "tasb+bm25", "--dense-index", ivf, *given, *topics) == 0
    said = capsys.readouterr().err
    assert "tasb hybrid: warning: dense (" in said
    assert said.count("of 10 queries have fewer than 523 hits") == 1  # BM25 may find as little as it likes
    sources = ["--qrels", TINY / "qrels.txt", "--corpus", TINY / "corpus.jsonl", *topics]
    given = ["--dense-index", ivf, "--encoder", ENCODER, "--output", tmp_path / "pairs"]
    assert tasb("mine", *sources, *given) == 0
    said = capsys.readouterr().err
    assert "tasb mine: warning: " in said
    assert "queries have fewer than 200 hits" in said
