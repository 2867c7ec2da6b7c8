"""`tasb search`: shards give what the merged index gives, byte for byte, in the order of trec_eval."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from pyserini_tasb.cli import main
from pyserini_tasb.encode import TasbQueryEncoder
from pyserini_tasb.index import faiss_folder
from pyserini_tasb.index.sharded_index import ShardedIndex
from pyserini_tasb.pipelines.search import latency
from pyserini_tasb.pipelines.search.latency import measure_latency
from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.index.faiss_folders import write_faiss_folder
from tests.index.stock import search as stock_search


def tasb_search(indexes, run, *options):
    paths = [str(path) for path in indexes]
    encoder = ["--encoder", f"tasb:{TINY_MODEL}", "--topics", str(TINY / "topics.tsv"), "--threads", "1"]
    return main(["search", "--index", *paths, *encoder, "--output", str(run), *map(str, options)])


@pytest.fixture(scope="module")
def folders(vectors, tmp_path_factory):
    """The merged index and its three shards; every seventh vector is the one before it, so that scores tie."""
    folder = tmp_path_factory.mktemp("folders")
    rows = np.arange(len(vectors.docids))
    same = vectors.vectors[np.where(rows % 7 == 6, rows - 1, rows)]
    write_faiss_folder(folder / "merged", vectors.docids, same)
    for name, part in {"A": slice(0, 211), "B": slice(211, 230), "C": slice(230, None)}.items():
        write_faiss_folder(folder / name, vectors.docids[part], same[part])
    return folder


@pytest.mark.parametrize("hits", [1, 6, 13, 50, 522, 523, 1_000])
def test_shards_are_one_index(hits, folders, tmp_path):
    shards = [folders / name for name in "ABC"]
    assert tasb_search([folders / "merged"], tmp_path / "merged", "--hits", hits) == 0
    for name, options in {"one": ["--batch-size", 1], "three": ["--batch-size", 3], "read": ["--in-memory"]}.items():
        assert tasb_search(shards, tmp_path / name, "--hits", hits, *options) == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / "merged").read_bytes()


def test_mapped_shards(folders, tmp_path, monkeypatch):
    assert tasb_search([folders / "merged"], tmp_path / "merged") == 0
    monkeypatch.setattr(faiss_folder, "LEAST_MAPPED", 0)
    assert tasb_search([folders / name for name in "BCA"], tmp_path / "mapped") == 0
    assert (tmp_path / "mapped").read_bytes() == (tmp_path / "merged").read_bytes()


def test_the_same_hits_as_stock_pyserini(folders, tmp_path):
    assert tasb_search([folders / name for name in "CAB"], tmp_path / "ours", "--hits", 100, "--tag", "mine") == 0
    ours = read_scores(tmp_path / "ours")
    stock = stock_search("pyserini.search.faiss", folders / "merged", tmp_path / "stock", "--hits", 100)
    assert ours.keys() == stock.keys()
    for qid, hits in ours.items():
        assert sorted(hits.values()) == pytest.approx(sorted(stock[qid].values()), abs=1e-4)
        assert len(hits.keys() - stock[qid].keys()) <= 1  # where the last hit ties, Faiss keeps either
    columns = [line.split() for line in (tmp_path / "ours").open()]
    assert {(column[1], column[5]) for column in columns} == {("Q0", "mine")}
    for qid in ours:
        ranked = [(float(score), docid) for of, _, docid, _, score, _ in columns if of == qid]
        assert ranked == sorted(ranked, reverse=True)
        assert [int(rank) for of, _, _, rank, _, _ in columns if of == qid] == list(range(1, 101))


def test_msmarco_format(folders, tmp_path):
    assert tasb_search([folders / "merged"], tmp_path / "trec", "--hits", 5) == 0
    assert tasb_search([folders / "merged"], tmp_path / "msmarco", "--hits", 5, "--output-format", "msmarco") == 0
    trec = [line.split() for line in (tmp_path / "trec").open()]
    assert (tmp_path / "msmarco").read_text() == "".join(f"{c[0]}\t{c[2]}\t{c[3]}\n" for c in trec)


@pytest.mark.parametrize("factory", ["SQfp16", "HNSW16", "IVF4,Flat", "PQ4x4,RFlat"])
def test_other_kinds_are_searched_too(factory, vectors, exact, tmp_path):
    for name, part in {"A": slice(0, 250), "B": slice(250, None)}.items():
        write_faiss_folder(tmp_path / name, vectors.docids[part], vectors.vectors[part], factory)
    assert tasb_search([tmp_path / "A", tmp_path / "B"], tmp_path / "run", "--hits", 20) == 0
    for qid, hits in read_scores(tmp_path / "run").items():
        assert len(hits) == 20
        assert hits == pytest.approx({docid: exact[qid][docid] for docid in hits}, abs=0.05)


BATCHES = {1: 7, 10: 3, 25: 2}


def timed_rows(printed):
    """Batch size → average, p50 and p99 of encoding, of search and of both."""
    rows = {}
    for line in printed.splitlines():
        if match := re.fullmatch(r"batch (\d+) \((\d+) timed\)([ .\d]+)", line):
            assert BATCHES[int(match[1])] == int(match[2])
            rows[int(match[1])] = [float(value) for value in match[3].split()]
    return rows


def test_latency(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(latency, "BATCHES", BATCHES)
    shards = [folders / name for name in "ABC"]
    (tmp_path / "queries.tsv").write_text("".join(f"{number}\tquery {number % 25}\n" for number in range(60)))
    queries = ["--latency-queries", tmp_path / "queries.tsv"]
    assert tasb_search(shards, tmp_path / "run", "--latency", *queries) == 0
    printed = capsys.readouterr().out
    assert "1 threads, 1000 hits, 25 different queries" in printed
    assert " encode avg  encode p50  encode p99  search avg " in printed
    assert "left out" not in printed
    rows = timed_rows(printed)
    assert rows.keys() == BATCHES.keys()
    for encode_avg, encode, encode_99, search_avg, search, search_99, total_avg, total, total_99 in rows.values():
        assert 0 < encode <= encode_99
        assert 0 < search <= search_99
        assert encode_avg <= encode_99
        assert max(encode, search) < total <= total_99 <= encode_99 + search_99 + 0.02
        assert total_avg == pytest.approx(encode_avg + search_avg, abs=0.02)


def test_latency_of_batches_larger_than_there_are_different_queries_is_left_out(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(latency, "BATCHES", BATCHES)
    assert tasb_search([folders / "merged"], tmp_path / "run", "--latency") == 0
    printed = capsys.readouterr().out
    assert "10 different queries" in printed
    assert timed_rows(printed).keys() == {1, 10}
    assert "batch 25: left out, it needs as many different queries (--latency-queries)\n" in printed
    assert tasb_search([folders / "merged"], tmp_path / "run", "--latency-queries", TINY / "topics.tsv") == 2
    assert "no --latency" in capsys.readouterr().err


def test_every_timed_batch_is_of_different_queries(folders, monkeypatch):
    encoded = []

    class Recorder(TasbQueryEncoder):
        def encode_batch(self, queries, max_length=None):
            encoded.append(queries)
            return super().encode_batch(queries, max_length)

    monkeypatch.setattr(latency, "BATCHES", BATCHES)
    queries = [f"query {number}" for number in range(12)]
    index = ShardedIndex([folders / "merged"], mapped=True)
    measure_latency(Recorder(f"tasb:{TINY_MODEL}", queries_kept=0), index, queries, 10)
    assert [len(set(batch)) for batch in encoded] == [1] * 8 + [10] * 4


def test_what_is_wrong_is_said_before_a_run_is_replaced(folders, tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    other = write_faiss_folder(tmp_path / "other", ["a"], np.ones((1, 8), np.float32))
    cut = shutil.copytree(folders / "A", tmp_path / "cut")
    (cut / "index").write_bytes((cut / "index").read_bytes()[:5_000])
    short = shutil.copytree(folders / "A", tmp_path / "short")
    (short / "docid").write_text("a\nb\n")
    for folder, said in {
        tmp_path / "absent": "no such folder",
        other: "8-dimensional",
        cut: "Faiss says",
        short: "211 docids",
    }.items():
        assert tasb_search([folders / "B", folder], tmp_path / "run") == 2
        message = capsys.readouterr().err
        assert said in message
        assert str(folder) in message
    assert (tmp_path / "run").read_text() == "mine"
    assert tasb_search([folders / "B"], tmp_path / "absent" / "run") == 2
    assert "a file that can be written" in capsys.readouterr().err
