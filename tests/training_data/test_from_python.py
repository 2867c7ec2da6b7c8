"""One result handed to the next verb, and objects where a file could be named."""

from __future__ import annotations

import pandas as pd
import pytest

import pyserini_tasb as tasb
from pyserini_tasb import TasbError
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.formats.named import load_qrels, load_topics
from tests.command_line import tasb as command
from tests.conftest import TINY, TINY_MODEL


@pytest.fixture
def run(expected_scores):
    return tasb.Run({qid: dict(list(ranking.items())[:20]) for qid, ranking in expected_scores.items()})


@pytest.fixture
def mined(tmp_path, run):
    qrels = load_qrels(TINY / "qrels.txt")
    topics = load_topics(TINY / "topics.tsv")
    return tasb.mine(topics, qrels, TINY / "corpus.jsonl", run=run, per_query=3, output=tmp_path / "mined.tsv")


def test_mined_scored_stored_and_clustered(tmp_path, mined):
    texts = {"corpus": TINY / "corpus.jsonl", "topics": load_topics(TINY / "topics.tsv")}
    scored = tasb.score(
        mined, **texts, model=str(TINY_MODEL), device="cpu", allow_reversed=True, output=tmp_path / "scored.tsv"
    )
    pairs = tasb.pairs(scored, **texts, allow_reversed=True, output=tmp_path / "pairs")
    clusters = tasb.cluster(pairs, encoder=str(TINY_MODEL), batch_size=3, output=tmp_path / "clusters")
    assert mined.pairs == scored.pairs == pairs.pairs == len(open_pair_store(tmp_path / "pairs"))
    assert pairs.supervision == "scores"
    assert pairs.agreement == scored.agreements[str(TINY_MODEL)]
    assert clusters.queries == pairs.queries == mined.queries
    assert clusters.path.read_text().split() != []
    assert repr(pairs).startswith(f"Pairs(path=PosixPath('{tmp_path}/pairs'), queries=")
    assert "<td>pairs</td>" in pairs._repr_html_()


def test_judgments_and_a_run_in_memory_make_the_store_of_their_files(tmp_path, run):
    run.write(tmp_path / "run.txt")
    files = {"qrels": TINY / "qrels.txt", "negatives": tmp_path / "run.txt", "topics": TINY / "topics.tsv"}
    topics = load_topics(files["topics"])
    objects = {
        "qrels": load_qrels(files["qrels"]),
        "negatives": run,
        "topics": pd.DataFrame({"qid": list(topics), "query": list(topics.values())}),
    }
    options = {"corpus": TINY / "corpus.jsonl", "negatives_per_query": 4}
    stores = [
        open_pair_store(tasb.pairs(**given, **options, output=tmp_path / name).path)
        for name, given in (("files", files), ("objects", objects))
    ]
    assert stores[0].fingerprint == stores[1].fingerprint
    again = tasb.pairs(**objects, **options, output=tmp_path / "objects")
    assert again.built_before
    assert "built before" in again.summary
    changed = objects | {"qrels": {**objects["qrels"], "more": {"x": 1}}}
    with pytest.raises(TasbError, match="found:    it exists"):
        tasb.pairs(**changed, **options, output=tmp_path / "objects")


def test_clusters_of_a_dictionary_are_those_of_its_file(tmp_path):
    topics = load_topics(TINY / "topics.tsv")
    options = {"encoder": str(TINY_MODEL), "batch_size": 4}
    one = tasb.cluster(TINY / "topics.tsv", **options, output=tmp_path / "file")
    other = tasb.cluster(topics, **options, output=tmp_path / "dictionary")
    assert one.path.read_bytes() == other.path.read_bytes()
    assert (one.queries, one.clusters, one.sizes) == (other.queries, other.clusters, other.sizes)


def test_pseudo_queries_say_where_everything_is(tmp_path):
    made = tasb.pseudo_queries(TINY / "corpus.jsonl", output=tmp_path / "pseudo", write_collection=True)
    assert len(load_topics(made.topics)) == len(load_qrels(made.qrels)) == made.counts.queries
    assert [file.name for file in made.corpus.iterdir()] == ["documents.jsonl"]


def test_one_source_of_negatives(tmp_path, run):
    topics, qrels = load_topics(TINY / "topics.tsv"), load_qrels(TINY / "qrels.txt")
    with pytest.raises(TasbError, match="one of index=, dense_index= and run="):
        tasb.mine(topics, qrels, TINY / "corpus.jsonl", run=run, index="bm25", output=tmp_path / "mined.tsv")


def test_an_index_that_does_not_list_the_encoder_is_searched_when_allowed(tmp_path, suitable_java, caplog, collection):
    vectors = tmp_path / "vectors"
    index = tmp_path / "index"
    files = ("--corpus", TINY / "corpus.jsonl", "--encoder", TINY_MODEL, "--device", "cpu")
    assert command("encode", *files, "--output", vectors) == 0
    assert command("index", "--vectors", vectors, "--output", index) == 0
    card = tmp_path / "other.yaml"
    card.write_text(f"name: other\nmodel: {TINY_MODEL}\npooling: mean\n")
    options = {"dense_index": index, "encoder": str(card), "hits": 20, "output": tmp_path / "mined.tsv"}
    sources = (TINY / "topics.tsv", TINY / "qrels.txt", TINY / "corpus.jsonl")
    with pytest.raises(TasbError, match="an encoder that belongs to these vectors"):
        tasb.mine(*sources, **options)
    assert tasb.mine(*sources, **options, allow_other_encoder=True).pairs
    assert "searched with another encoder, as you allowed" in caplog.text
    assert {len(line.split("\t")) for line in (tmp_path / "mined.tsv").read_text().splitlines()} == {3}
