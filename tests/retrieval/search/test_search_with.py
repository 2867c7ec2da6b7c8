"""`tasb search --search-with`: torch finds what Faiss finds, in vector folders too, and if Faiss is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import TasbError
from pyserini_tasb.indexes import opening
from pyserini_tasb.indexes.opening import DenseSearch
from pyserini_tasb.indexes.search import ShardedIndex
from pyserini_tasb.indexes.torch_search import TorchFlat
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder

ENCODER = f"tasb:{TINY_MODEL}"


def tasb_search(run, *options, indexes):
    given = ["--index", *indexes, "--encoder", ENCODER, "--topics", TINY / "topics.tsv", "--threads", "1"]
    return tasb("search", *given, "--output", run, "--overwrite", *options)


@pytest.fixture(scope="module")
def same(vectors):
    """Vectors of which every seventh is the one before it, so that scores tie."""
    rows = np.arange(len(vectors.docids))
    return vectors.vectors[np.where(rows % 7 == 6, rows - 1, rows)]


@pytest.fixture(scope="module")
def folders(vectors, same, tmp_path_factory):
    """The same vectors as a flat index, as a vector folder, and as one shard of each kind."""
    folder = tmp_path_factory.mktemp("folders")
    write_faiss_folder(folder / "flat", vectors.docids, same)
    write_vector_folder(folder / "vectors", vectors.docids, same, unit_size=100)
    write_faiss_folder(folder / "A", vectors.docids[:300], same[:300])
    write_vector_folder(folder / "B", vectors.docids[300:], same[300:], unit_size=70)
    return folder


@pytest.mark.parametrize("hits", [1, 13, 100, 523, 1_000])
def test_torch_finds_what_faiss_finds(folders, hits, tmp_path):
    assert tasb_search(tmp_path / "faiss", "--hits", hits, indexes=[folders / "flat"]) == 0
    assert tasb_search(tmp_path / "torch", "--hits", hits, "--search-with", "torch", indexes=[folders / "flat"]) == 0
    theirs, ours = read_scores(tmp_path / "faiss"), read_scores(tmp_path / "torch")
    assert ours.keys() == theirs.keys()
    for qid, ranking in theirs.items():
        scores = np.array(list(ranking.values()))
        assert list(ours[qid].values()) == pytest.approx(scores.tolist(), abs=1e-5)
        # Scores that are nearly equal may change places; those that are equal may not.
        steps = np.abs(np.diff(scores, append=-np.inf))
        clear = (steps == 0) | (steps > 1e-5)
        clear &= np.roll(clear, 1)
        assert clear.mean() > 0.9
        assert [docid for docid, is_clear in zip(ours[qid], clear, strict=True) if is_clear] == [
            docid for docid, is_clear in zip(ranking, clear, strict=True) if is_clear
        ]


def test_the_same_bytes_of_every_folder_and_batch(folders, tmp_path):
    options = {
        "vectors": ([folders / "vectors"], []),
        "auto": ([folders / "vectors"], ["--search-with", "auto", "--in-memory"]),
        "one": ([folders / "vectors"], ["--batch-size", 1]),
        "shards": ([folders / "B", folders / "A"], []),
        "bf16": ([folders / "flat"], ["--search-precision", "bf16"]),
        "fp16": ([folders / "vectors"], ["--search-precision", "fp16", "--batch-size", 3]),
    }
    assert tasb_search(tmp_path / "run", "--search-with", "torch", indexes=[folders / "flat"]) == 0
    for name, (indexes, given) in options.items():
        assert tasb_search(tmp_path / name, "--search-with", "torch", *given, indexes=indexes) == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / "run").read_bytes()


def test_vectors_stored_in_fp16(vectors, same, folders, tmp_path):
    half = write_vector_folder(tmp_path / "half", vectors.docids, same.astype(np.float16), unit_size=100)
    assert tasb_search(tmp_path / "run", "--hits", 20, indexes=[half]) == 0
    assert tasb_search(tmp_path / "whole", "--hits", 20, indexes=[folders / "flat"]) == 0
    for qid, ranking in read_scores(tmp_path / "whole").items():
        assert sorted(read_scores(tmp_path / "run")[qid].values()) == pytest.approx(sorted(ranking.values()), abs=0.05)


def test_the_encoder_that_made_a_vector_folder(encoded_vectors, other_model, tmp_path, capsys):
    topics = TINY / "topics.tsv"
    run = pyserini_tasb.search(encoded_vectors, topics=topics)
    assert run == pyserini_tasb.search(encoded_vectors / "faiss", topics=topics, search_with="torch")
    given = ["--topics", topics, "--output", tmp_path / "run", "--encoder", f"tasb:{other_model}"]
    assert tasb("search", "--index", encoded_vectors, *given) == 2
    assert "other weights" in capsys.readouterr().err
    assert tasb("search", "--index", encoded_vectors, *given, "--allow-other-encoder") == 0


def test_what_auto_takes(folders, vectors, same, tmp_path, monkeypatch):
    graph = write_faiss_folder(tmp_path / "graph", vectors.docids, same, "HNSW8")
    size = (folders / "flat" / "index").stat().st_size
    free = {"cuda:0": size // 2 + 1, "cuda:1": size // 2 + 2}
    monkeypatch.setattr(opening, "memory_for_copies", lambda device: free[str(device)])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for faiss_is_there in (True, False):
        monkeypatch.setattr(opening, "has_faiss", lambda there=faiss_is_there: there)
        flat = "faiss" if faiss_is_there else "torch"
        assert DenseSearch().chosen(folders / "flat") == flat
        assert DenseSearch(device="cuda").chosen(folders / "flat") == "torch"  # half of it fits on each GPU
        assert DenseSearch(device="cuda:0").chosen(folders / "flat") == flat
        assert DenseSearch("torch", "cuda:0").chosen(folders / "flat") == "torch"
        assert DenseSearch(precision="bf16").chosen(folders / "flat") == "torch"
        for device in ("cpu", "cuda:0"):
            assert DenseSearch(device=device).chosen(folders / "vectors") == "torch"
            assert DenseSearch(device=device).chosen(graph) == "faiss"
            assert DenseSearch("faiss", device).chosen(folders / "flat") == "faiss"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there(device, folders, monkeypatch):
    """The encoder has the words for it."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert DenseSearch(device=device).chosen(folders / "flat") == "torch"


def test_the_index_that_torch_searches_stays_in_its_file(folders):
    opened = ShardedIndex([folders / "vectors"], DenseSearch("torch")).open(0, 32)
    assert isinstance(opened.index, TorchFlat)
    assert opened.index.ntotal == len(opened.docids) == 523


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--search-with", "torch"], "a graph (HNSW), which does not compare a query with every vector"),
        (["--search-precision", "bf16"], "a graph (HNSW)"),
        (["--search-with", "faiss", "--search-precision", "bf16"], "--search-precision bf16 with --search-with torch"),
    ],
)
def test_what_torch_cannot_search(options, said, vectors, same, tmp_path, capsys):
    graph = write_faiss_folder(tmp_path / "graph", vectors.docids, same, "HNSW8")
    assert tasb_search(tmp_path / "run", *options, indexes=[graph]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_a_folder(folders, vectors, same, tmp_path, capsys):
    about = {"encoder": ENCODER, "card": "0" * 64, "corpus": "1" * 64, "kind": "query"}
    queries = write_vector_folder(tmp_path / "queries", vectors.docids, same, about)
    unfinished = write_vector_folder(tmp_path / "unfinished", vectors.docids, same, unit_size=100)
    (unfinished / "units" / "000002.json").unlink()
    short = write_faiss_folder(tmp_path / "short", vectors.docids[1:], same)
    narrow = write_vector_folder(tmp_path / "narrow", vectors.docids, same[:, :8].copy())
    cut = write_faiss_folder(tmp_path / "cut", vectors.docids, same)
    (cut / "index").write_bytes((cut / "index").read_bytes()[:-8])
    for folder, wrong in {
        queries: "vectors of queries",
        unfinished: "1 not finished: 000002",
        short: "523 docids",
        narrow: "8-dimensional",
        cut: "66989 bytes, for 523 vectors",
    }.items():
        assert tasb_search(tmp_path / "run", "--search-with", "torch", indexes=[folders / "flat", folder]) == 2
        message = capsys.readouterr().err
        assert wrong in message
        assert str(folder) in message
    assert tasb_search(tmp_path / "run", "--search-with", "faiss", indexes=[folders / "vectors"]) == 2
    assert f"tasb index --vectors {folders / 'vectors'}" in capsys.readouterr().err


def test_from_python_a_wrong_name_is_refused(folders):
    with pytest.raises(TasbError, match="one of auto, faiss, torch for search_with="):
        pyserini_tasb.search(folders / "flat", topics=TINY / "topics.tsv", encoder=ENCODER, search_with="touch")


def test_lucene_has_no_such_choice(lucene_index, tmp_path, capsys):
    given = ["--index", lucene_index, "--topics", TINY / "topics.tsv", "--output", tmp_path / "run"]
    assert tasb("search", *given, "--search-with", "torch") == 2
    assert "--search-with" in capsys.readouterr().err


WITHOUT_FAISS = """
import sys
sys.modules["faiss"] = None
from pyserini_tasb.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_faiss(folders, vectors, same, tmp_path):
    def search(index):
        given = ["--index", index, "--encoder", ENCODER, "--topics", TINY / "topics.tsv", "--hits", "20"]
        command = [sys.executable, "-c", WITHOUT_FAISS, "search", *map(str, given), "--output", tmp_path / "run"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tasb_search(tmp_path / "with", "--hits", 20, "--search-with", "torch", indexes=[folders / "flat"]) == 0
    done = search(folders / "flat")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run").read_bytes() == (tmp_path / "with").read_bytes()
    (tmp_path / "run").unlink()
    done = search(write_faiss_folder(tmp_path / "graph", vectors.docids, same, "HNSW8"))
    assert done.returncode == 2
    assert "pip install faiss-cpu" in done.stderr
