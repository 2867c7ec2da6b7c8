"""`tasb search`: shards give what the merged index gives, byte for byte, in the order of trec_eval."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import Run, TasbError
from pyserini_tasb.encoding.encoders import TasbQueryEncoder
from pyserini_tasb.encoding.index_manifest import write_index_manifest
from pyserini_tasb.indexes import faiss_folder
from pyserini_tasb.indexes.search import ShardedIndex
from pyserini_tasb.retrieval import search as latency
from pyserini_tasb.retrieval.search import measure_latency
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.indexes.faiss_folders import write_faiss_folder
from tests.indexes.stock import search as stock_search


def tasb_search(indexes, run, *options, topics=TINY / "topics.tsv"):
    paths = [str(path) for path in indexes]
    encoder = ["--encoder", f"tasb:{TINY_MODEL}", "--topics", str(topics), "--threads", "1"]
    return tasb("search", "--index", *paths, *encoder, "--output", run, "--overwrite", *options)


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


def test_from_python(folders, collection, tmp_path):
    shards, encoder = [folders / name for name in "ABC"], f"tasb:{TINY_MODEL}"
    run = pyserini_tasb.search(shards, topics=collection.topics, encoder=encoder, hits=50, output=tmp_path / "run")
    assert run == Run.read(tmp_path / "run")
    assert (run.name, len(run), run.hits) == ("tiny-tasb", len(collection.topics), 50 * len(collection.topics))
    assert tasb_search(shards, tmp_path / "typed", "--hits", 50) == 0
    assert (tmp_path / "typed").read_bytes() == (tmp_path / "run").read_bytes()
    unwritten = pyserini_tasb.search(shards, topics=TINY / "topics.tsv", encoder=encoder, hits=50, latency=True)
    assert unwritten == run
    assert [row.size for row in unwritten.times] == [1, 10]


def test_scores_keep_all_digits(folders, tmp_path):
    """Pyserini's six behind the point, or the fewest of a float32, would change what they add up to in a fusion."""
    assert tasb_search([folders / "merged"], tmp_path / "run", "--hits", 5) == 0
    for line in (tmp_path / "run").open():
        score = line.split()[4]
        assert score == repr(float(np.float32(score)))


def test_the_encoder_that_made_the_vectors(folders, collection, tmp_path):
    folder = shutil.copytree(folders / "merged", tmp_path / "merged")
    with pytest.raises(TasbError, match=r"the index names none(?s:.*)name it with encoder="):
        pyserini_tasb.search(folder, topics=collection.topics)
    encoder = TasbQueryEncoder(f"tasb:{TINY_MODEL}")
    write_index_manifest(folder, [encoder.identity])
    named = pyserini_tasb.search(folders / "merged", topics=collection.topics, encoder=encoder.name)
    assert pyserini_tasb.search(folder, topics=collection.topics) == named


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
    assert "batch 25: skipped: it needs at least that many different queries (--latency-queries)\n" in printed
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
    index = ShardedIndex([folders / "merged"])
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
    assert tasb_search([folders / "B"], tmp_path / "run" / "run") == 2
    assert "run is a file" in capsys.readouterr().err
    assert tasb_search([folders / "B"], tmp_path / "new" / "run") == 0


@pytest.fixture
def own_topics(folders, collection, tmp_path):
    """Topics with the docid of one of their hits for their id: the first hits, a tie's, and one that is no docid."""
    texts = list(collection.topics.values())[:6]
    path = tmp_path / "own.tsv"
    path.write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(texts)))
    assert tasb_search([folders / "merged"], tmp_path / "all", topics=path) == 0
    found = [list(ranking.items()) for ranking in read_scores(tmp_path / "all").values()]
    tied = next(rank for rank in range(10, 100) if found[3][rank][1] == found[3][rank + 1][1])
    ranks = [0, 1, 6, tied, tied + 1]
    qids = [*(of_query[rank][0] for of_query, rank in zip([*found[:4], found[3]], ranks, strict=True)), "none"]
    texts[4] = texts[3]
    assert len(set(qids)) == len(qids)
    path.write_text("".join(f"{qid}\t{text}\n" for qid, text in zip(qids, texts, strict=True)))
    return path


@pytest.mark.parametrize("hits", [1, 2, 7, 100, 521, 522, 1_000])
def test_as_many_hits_as_of_an_index_without_the_query_s_own_document(hits, folders, vectors, own_topics, tmp_path):
    shards = [folders / name for name in "ABC"]
    qids = [line.split("\t")[0] for line in own_topics.open()]
    rows = np.arange(len(vectors.docids))
    same = vectors.vectors[np.where(rows % 7 == 6, rows - 1, rows)]
    expected = []
    for qid in qids:
        others = [row for row, docid in enumerate(vectors.docids) if docid != qid]
        index = write_faiss_folder(tmp_path / f"without-{qid}", [vectors.docids[row] for row in others], same[others])
        assert tasb_search([index], tmp_path / "one", "--hits", hits, topics=own_topics) == 0
        expected += [line for line in (tmp_path / "one").open() if line.split()[0] == qid]
    assert len(expected) == sum(min(hits, 523 - (qid in vectors.docids)) for qid in qids)
    for name, options in {"one": ["--batch-size", 1], "three": ["--batch-size", 3], "read": ["--in-memory"]}.items():
        assert tasb_search(shards, tmp_path / name, "--hits", hits, "--remove-query", *options, topics=own_topics) == 0
        assert (tmp_path / name).read_text() == "".join(expected)
    form = ["--remove-query", "--output-format", "msmarco"]
    assert tasb_search(shards, tmp_path / "msmarco", "--hits", hits, *form, topics=own_topics) == 0
    columns = [line.split() for line in expected]
    assert (tmp_path / "msmarco").read_text() == "".join(f"{c[0]}\t{c[2]}\t{c[3]}\n" for c in columns)


def test_stock_pyserini_drops_the_same_document(folders, own_topics, tmp_path):
    """Its list gets shorter by it, so it is asked for one hit more."""
    folder = ["pyserini.search.faiss", folders / "merged", tmp_path / "stock", "--topics", own_topics]
    stock = stock_search(*folder, "--hits", 101, "--batch-size", 8, "--remove-query")
    assert [len(ranking) for ranking in stock.values()] == [100] * 5 + [101]
    assert tasb_search([folders / "merged"], tmp_path / "ours", "--hits", 100, "--remove-query", topics=own_topics) == 0
    ours = read_scores(tmp_path / "ours")
    assert {qid: len(ranking) for qid, ranking in ours.items()} == dict.fromkeys(stock, 100)
    for qid, ranking in ours.items():
        theirs = dict(list(stock[qid].items())[:100])
        assert sorted(ranking.values()) == pytest.approx(sorted(theirs.values()), abs=1e-4)
        assert len(ranking.keys() - theirs.keys()) <= 1  # where the last hit ties, Faiss keeps either
        assert qid not in ranking


def test_dropping_in_evaluation_is_dropping_in_search(folders, own_topics, tmp_path, capsys):
    """Stock's run with the query's own document, evaluated without it, beside stock's run without."""
    search = ["pyserini.search.faiss", folders / "merged"]
    options = ["--topics", own_topics, "--hits", 101, "--batch-size", 8]
    without = stock_search(*search, tmp_path / "without", *options, "--remove-query")
    stock_search(*search, tmp_path / "with", *options)
    judged = [f"{qid} 0 {docid} 1\n" for qid, ranking in without.items() for docid in list(ranking)[1:9:3]]
    (tmp_path / "qrels.txt").write_text("".join(judged))
    command = ["evaluate", "--qrels", tmp_path / "qrels.txt", "--runs", tmp_path / "with", tmp_path / "without"]
    values = []
    for option in ([], ["--remove-query"]):
        assert tasb(*command, "--measures", "nDCG@10", *option) == 0
        values += [line.split()[1] for line in capsys.readouterr().out.splitlines()[-4:-2]]
    assert values[0] < values[1] == values[2] == values[3]
