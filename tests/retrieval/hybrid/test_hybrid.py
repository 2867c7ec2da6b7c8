"""`tasb hybrid` writes, byte for byte, what fusing the runs of the single searches writes."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace

import pytest

import pyserini_tasb
from pyserini_tasb import Run
from pyserini_tasb.encoding.encoders import TasbQueryEncoder
from pyserini_tasb.encoding.index_manifest import write_index_manifest
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL
from tests.retrieval.hybrid.lucene_indexes import run_stock

ENCODER = f"tasb:{TINY_MODEL}"
TOPICS = TINY / "topics.tsv"


def tasb_hybrid(recipe, output, *options, topics=TOPICS):
    return tasb("hybrid", "--recipe", recipe, "--topics", topics, "--output", output, "--overwrite", *options)


def search_dense(index, run, hits=1000, topics=TOPICS):
    assert (
        tasb(
            "search",
            "--index",
            index,
            "--encoder",
            ENCODER,
            "--topics",
            topics,
            "--output",
            run,
            "--overwrite",
            "--hits",
            hits,
        )
        == 0
    )
    return run


def search_lucene(index, run, *options, hits=1000, topics=TOPICS):
    search = ("--index", index, "--topics", topics, "--output", run, "--hits", hits, *options)
    run_stock("pyserini.search.lucene", *search)
    return run


@pytest.mark.parametrize(
    "options", [[], ["--batch-size", 1, "--threads", 1], ["--batch-size", 4, "--threads", 3]], ids=["10", "1", "4"]
)
@pytest.mark.parametrize("form", ["trec", "msmarco"])
def test_a_shipped_recipe(options, form, indexes, tmp_path, capsys):
    runs = [search_dense(indexes.faiss, tmp_path / "dense"), search_lucene(indexes.bm25, tmp_path / "bm25")]
    assert (
        tasb(
            "fuse",
            "--recipe",
            "tasb+bm25",
            "--runs",
            *runs,
            "--output",
            tmp_path / "fused",
            "--overwrite",
            "--output-format",
            form,
        )
        == 0
    )
    given = ["--dense-index", indexes.faiss, "--sparse-index", indexes.bm25, "--encoder", ENCODER]
    capsys.readouterr()
    assert tasb_hybrid("tasb+bm25", tmp_path / "hybrid", *given, *options, "--output-format", form) == 0
    assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()
    printed = capsys.readouterr()
    assert "10 queries, 1,230 hits of dense" in printed.out
    assert "tuned at depth" not in printed.err  # that depth is the recipe's own


def test_from_python(indexes, tmp_path, caplog):
    given = {"dense_index": indexes.faiss, "sparse_index": [indexes.bm25], "encoder": ENCODER, "topics": TOPICS}
    options = ["--dense-index", indexes.faiss, "--sparse-index", indexes.bm25, "--encoder", ENCODER]
    assert tasb_hybrid("tasb+bm25", tmp_path / "typed", *options, "--set", "depth=20") == 0
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        run = pyserini_tasb.hybrid("tasb+bm25", set=["depth=20"], output=tmp_path / "run", **given)
    assert caplog.messages == []
    assert (tmp_path / "run").read_bytes() == (tmp_path / "typed").read_bytes()
    assert run == Run.read(tmp_path / "run")
    assert (run.name, run.topics, len(run.searched)) == ("tasb+bm25", 10, 2)
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        assert pyserini_tasb.hybrid("tasb+bm25", hits=200, **given) != run
        pyserini_tasb.hybrid("tasb+bm25", set={"depth": 300}, **given)
    assert [message[:54] for message in caplog.messages] == [
        "the weights of tasb+bm25 were tuned at depth 100, but "
    ] * 2


def test_three_inputs_with_parameters_and_few_hits(indexes, tmp_path, write_recipe):
    recipe = write_recipe(
        {"kind": "dense", "encoder": ENCODER, "index": str(indexes.faiss)},
        {"kind": "bm25", "k1": 0.82, "b": 0.68, "weight": 0.3, "index": str(indexes.bm25)},
        {"kind": "doct5query", "weight": 0.2, "index": str(indexes.doct5query)},
        method="combmnz",
        normalization="min-max",
    )
    runs = [
        search_dense(indexes.faiss, tmp_path / "dense", hits=20),
        search_lucene(indexes.bm25, tmp_path / "bm25", "--k1", 0.82, "--b", 0.68, hits=20),
        search_lucene(indexes.doct5query, tmp_path / "doct5query", hits=20),
    ]
    assert (
        tasb(
            "fuse", "--recipe", recipe, "--runs", *runs, "--output", tmp_path / "fused", "--overwrite", "--tag", "mine"
        )
        == 0
    )
    assert tasb_hybrid(recipe, tmp_path / "hybrid", "--hits", 20, "--batch-size", 3, "--tag", "mine") == 0
    assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()
    # Given indexes go before the recipe's, in its order.
    swapped = ["--sparse-index", indexes.doct5query, indexes.bm25]
    assert tasb_hybrid(recipe, tmp_path / "swapped", "--hits", 20, "--tag", "mine", *swapped) == 0
    assert (tmp_path / "swapped").read_bytes() != (tmp_path / "fused").read_bytes()
    # Its depth is how many hits are asked for.
    assert tasb_hybrid(recipe, tmp_path / "depth", "--set", "depth=20", "--tag", "mine") == 0
    assert (tmp_path / "depth").read_bytes() == (tmp_path / "fused").read_bytes()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_lucene_index_of_vectors(kind, indexes, tmp_path, write_recipe):
    index = getattr(indexes, f"lucene_{kind}")
    # Stock search encodes batch by batch, which shows in the last digits.
    options = ("--dense", f"--{kind}", "--encoder", ENCODER, "--batch-size", 5, "--threads", 2)
    runs = [
        search_lucene(index, tmp_path / "dense", *options, hits=100),
        search_lucene(indexes.bm25, tmp_path / "bm25", hits=100),
    ]
    recipe = write_recipe({"kind": "dense", "encoder": ENCODER}, {"kind": "bm25"}, depth=100)
    assert tasb("fuse", "--recipe", recipe, "--runs", *runs, "--output", tmp_path / "fused", "--overwrite") == 0
    given = ["--dense-index", index, "--sparse-index", indexes.bm25]
    assert tasb_hybrid(recipe, tmp_path / "hybrid", *given, "--batch-size", 5) == 0
    assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()


def test_torch_searches_a_dense_input(indexes, tmp_path):
    """The fused run is that of `tasb search`, from a flat index and from the vectors that it was made of."""
    searched = ["--search-with", "torch", "--output", tmp_path / "dense"]
    options = ["--encoder", ENCODER, "--topics", TOPICS]
    assert tasb("search", "--index", indexes.faiss, *options, *searched) == 0
    runs = [tmp_path / "dense", search_lucene(indexes.bm25, tmp_path / "bm25")]
    assert tasb("fuse", "--recipe", "tasb+bm25", "--runs", *runs, "--output", tmp_path / "fused") == 0
    vectors = indexes.faiss.parent / "vectors"
    given = ["--sparse-index", indexes.bm25, "--encoder", ENCODER, "--dense-index"]
    for options in ([indexes.faiss, "--search-with", "torch"], [vectors], [vectors, "--threads", 1]):
        assert tasb_hybrid("tasb+bm25", tmp_path / "hybrid", *given, *options) == 0
        assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()


@pytest.mark.parametrize("kind", ["faiss", "lucene_flat"])
def test_an_encoder_that_does_not_belong_to_the_index(kind, indexes, tmp_path, write_recipe, capsys):
    index = shutil.copytree(getattr(indexes, kind), tmp_path / "index")
    other = replace(TasbQueryEncoder(ENCODER).identity, name="other", weights="of another model")
    (index / "tasb-index.json").unlink(missing_ok=True)
    write_index_manifest(index, [other])
    recipe = write_recipe({"kind": "dense", "encoder": ENCODER}, {"kind": "bm25"}, depth=20)
    given = ["--dense-index", index, "--sparse-index", indexes.bm25]
    assert tasb_hybrid(recipe, tmp_path / "run", *given) == 2
    assert "an encoder that belongs to these vectors: other" in capsys.readouterr().err
    assert tasb_hybrid(recipe, tmp_path / "run", *given, "--allow-other-encoder") == 0
    assert "is searched with another encoder, as you allowed" in capsys.readouterr().err
    assert "PYSERINI_TASB_ALLOW_OTHER_ENCODER" not in os.environ


def test_an_impact_index(indexes, tmp_path, write_recipe):
    encoder = str(indexes.encoded_queries)
    runs = [
        search_lucene(indexes.impact, tmp_path / "impact", "--impact", "--encoder", encoder),
        search_dense(indexes.faiss, tmp_path / "dense"),
    ]
    recipe = write_recipe({"kind": "impact", "encoder": encoder}, {"kind": "dense", "encoder": ENCODER})
    assert tasb("fuse", "--recipe", recipe, "--runs", *runs, "--output", tmp_path / "fused", "--overwrite") == 0
    given = ["--dense-index", indexes.faiss, "--sparse-index", indexes.impact]
    assert tasb_hybrid(recipe, tmp_path / "hybrid", *given) == 0
    assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()


def test_queries_that_one_index_has_nothing_for(indexes, tmp_path, write_recipe):
    topics = tmp_path / "topics.tsv"
    topics.write_text("1\tzyxwvut\n2\tcomputer\n3\tqqqqqq zzzzzz\n4\tprograms\n")
    runs = [
        search_lucene(indexes.bm25, tmp_path / "bm25", topics=topics),
        search_dense(indexes.faiss, tmp_path / "dense", topics=topics),
    ]
    given = ["--dense-index", indexes.faiss, "--sparse-index", indexes.bm25]
    recipe = write_recipe({"kind": "bm25"}, {"kind": "dense", "encoder": ENCODER})
    assert tasb("fuse", "--recipe", recipe, "--runs", *runs, "--output", tmp_path / "fused", "--overwrite") == 0
    for size in (1, 2, 4):
        assert tasb_hybrid(recipe, tmp_path / "hybrid", *given, "--batch-size", size, topics=topics) == 0
        assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()
    qids = [line.split()[0] for line in (tmp_path / "fused").open()]
    assert list(dict.fromkeys(qids)) == ["2", "4", "1", "3"]
    assert tasb_hybrid(recipe, tmp_path / "dropped", *given, "--set", "missing=drop", topics=topics) == 0
    assert {line.split()[0] for line in (tmp_path / "dropped").open()} == {"2", "4"}


@pytest.mark.parametrize("form", ["trec", "msmarco"])
@pytest.mark.parametrize("dense", ["faiss", "lucene_flat"])
def test_queries_that_are_documents(dense, form, indexes, collection, tmp_path, write_recipe):
    """Each retriever drops the query's own document and has as many hits: only then their scores are normalised."""
    texts = dict(zip(collection.docids, collection.texts, strict=True))
    topics = tmp_path / "topics.tsv"
    plain = search_dense(indexes.faiss, tmp_path / "plain", hits=3)
    own = [line.split()[2] for line in plain.open()][1::6]  # found for some topic, not always first
    assert len(set(own)) > 2
    topics.write_text("".join(f"{docid}\t{' '.join(texts[docid].split())}\n" for docid in sorted(set(own))))
    lucene = ("--dense", "--flat", "--encoder", ENCODER, "--batch-size", 64, "--threads", 2)
    runs = [
        search_dense(indexes.faiss, tmp_path / "dense", hits=21, topics=topics)
        if dense == "faiss"
        else search_lucene(indexes.lucene_flat, tmp_path / "dense", *lucene, hits=21, topics=topics),
        search_lucene(indexes.bm25, tmp_path / "bm25", hits=21, topics=topics),
    ]
    assert any(line.split()[0] == line.split()[2] for line in runs[1].open())
    recipe = write_recipe({"kind": "dense", "encoder": ENCODER}, {"kind": "bm25"}, normalization="min-max", depth=20)
    fuse = ("fuse", "--recipe", recipe, "--runs", *runs, "--output-format", form)
    assert tasb(*fuse, "--output", tmp_path / "fused", "--overwrite", "--remove-query") == 0
    given = ["--dense-index", getattr(indexes, dense), "--sparse-index", indexes.bm25, "--output-format", form]
    for size in (1, 64) if dense == "faiss" else (64,):
        options = (*given, "--batch-size", size, "--remove-query")
        assert tasb_hybrid(recipe, tmp_path / "hybrid", *options, topics=topics) == 0
        assert (tmp_path / "hybrid").read_bytes() == (tmp_path / "fused").read_bytes()
    assert not any(line.split()[0] in line.split()[1:] for line in (tmp_path / "hybrid").open())
    assert tasb_hybrid(recipe, tmp_path / "kept", *given, topics=topics) == 0
    assert (tmp_path / "kept").read_bytes() != (tmp_path / "fused").read_bytes()
