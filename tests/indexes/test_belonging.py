"""An index is searched with the encoders that belong to it, and with no other."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pyserini_tasb import TasbError, TasbQueryEncoder
from pyserini_tasb.encoding.index_manifest import ALLOW_OTHER, INDEX_MANIFEST, index_encoders
from pyserini_tasb.plugin.startup import register_encoders
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder
from tests.indexes.stock import search as stock_search

OWN = f"tasb:{TINY_MODEL}"
REFUSED = (
    r"(?s)an encoder that belongs to these vectors: tasb:.*tiny-tasb.*other weights.*--query-encoder.*" + ALLOW_OTHER
)


def build(vectors, output, *options):
    assert tasb("index", "--vectors", vectors, "--output", output, "--threads", 1, *options) == 0
    return output


def search(index, encoder, run, *options):
    where = ["--topics", TINY / "topics.tsv", "--output", run, "--overwrite", "--threads", 1]
    return tasb("search", "--index", *index, "--encoder", encoder, *where, *options)


@pytest.fixture(scope="module")
def index(encoded_vectors, tmp_path_factory):
    return build(encoded_vectors, tmp_path_factory.mktemp("index") / "flat")


@pytest.fixture(scope="module")
def lucene(encoded_vectors, tmp_path_factory):
    return build(encoded_vectors, tmp_path_factory.mktemp("index") / "lucene", "--kind", "lucene-flat")


@pytest.fixture
def searcher():
    register_encoders()
    from pyserini.search.faiss import FaissSearcher

    return FaissSearcher


def test_tasb_search(index, encoded_vectors, other_model, tmp_path, capsys):
    run = tmp_path / "run"
    run.write_text("mine")
    for folders in ([index], [encoded_vectors / "faiss"], [encoded_vectors / "faiss", index]):
        assert search(folders, f"tasb:{other_model}", run) == 2
        said = capsys.readouterr().err
        assert "other weights" in said
        assert f"tasb search: {folders[0]}" in said
        assert run.read_text() == "mine"
        assert search(folders, OWN, run) == 0
        assert "another encoder" not in capsys.readouterr().err
        run.write_text("mine")
    assert search([index], f"tasb:{other_model}", run, "--allow-other-encoder") == 0
    assert "searched with another encoder, as you allowed" in capsys.readouterr().err
    assert len(read_scores(run)) == 10


def test_the_same_model_elsewhere_and_used_in_another_way(index, tmp_path):
    copy = shutil.copytree(TINY_MODEL, tmp_path / "copy")
    (copy / "card.yaml").write_text("name: mine\nmodel: .\nquery_prefix: 'query: '\nquery_max_length: 8\n")
    assert search([index], copy / "card.yaml", tmp_path / "run") == 0
    (copy / "card.yaml").write_text("name: mine\nmodel: .\npooling: mean\n")
    assert search([index], copy / "card.yaml", tmp_path / "run") == 2


def test_several_encoders_belong_to_an_index(encoded_vectors, index, other_model, tmp_path, capsys):
    both = build(encoded_vectors, tmp_path / "both", "--query-encoder", f"tasb:{other_model}", OWN)
    assert [each.name for each in index_encoders(both)] == [OWN, f"tasb:{other_model}"]
    assert f"encoder  {OWN}, tasb:{other_model}" in capsys.readouterr().out
    again = build(both, tmp_path / "again")  # a flat index is a source of vectors, and says what they are of
    assert index_encoders(again) == index_encoders(both)
    for encoder in (OWN, f"tasb:{other_model}"):
        assert search([both], encoder, tmp_path / "run") == 0
        assert search([again], encoder, tmp_path / "run") == 0
    assert search([both, index], f"tasb:{other_model}", tmp_path / "run") == 2


def test_an_index_is_not_measured_with_another_encoder(encoded_vectors, other_model, tmp_path, capsys):
    measured = ["--topics", TINY / "topics.tsv", "--encoder", f"tasb:{other_model}"]
    assert tasb("index", "--vectors", encoded_vectors, "--output", tmp_path / "index", *measured) == 2
    assert "other weights" in capsys.readouterr().err
    build(encoded_vectors, tmp_path / "index", *measured, "--query-encoder", f"tasb:{other_model}")


def test_folders_that_do_not_say_what_they_are_of(vectors, other_model, tmp_path, capsys):
    stock = write_faiss_folder(tmp_path / "stock", vectors.docids, vectors.vectors)
    old = build(vectors.folder, tmp_path / "old")  # of a vector folder of an earlier version
    assert "encoder  unknown" in capsys.readouterr().out
    for folder in (stock, old):
        assert search([folder], f"tasb:{other_model}", tmp_path / "run") == 0
        assert "encoder" not in capsys.readouterr().err
    named = build(vectors.folder, tmp_path / "named", "--query-encoder", OWN)
    assert search([named], f"tasb:{other_model}", tmp_path / "run") == 2
    (named / INDEX_MANIFEST).unlink()
    assert search([named], f"tasb:{other_model}", tmp_path / "run") == 0


def test_encode_goes_on_in_a_folder_of_an_earlier_version(tmp_path, monkeypatch):
    from pyserini_tasb.encoding import job

    options = ["--encoder", OWN, "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "vectors", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(job, "ENCODERS", "earlier")
        assert tasb("encode", *options, "--unit-size", 50) == 0
    next((tmp_path / "vectors" / "units").glob("000001.json")).unlink()
    assert tasb("encode", *options, "--output-format", "faiss") == 0
    assert index_encoders(tmp_path / "vectors" / "faiss") == ()


def test_hybrid(index, lucene, other_model, tmp_path, capsys, lucene_index):
    options = ["--recipe", "tasb+bm25", "--sparse-index", lucene_index, "--topics", TINY / "topics.tsv"]
    options += ["--output", tmp_path / "run", "--overwrite", "--hits", 100]
    for dense in (index, lucene):
        given = ["hybrid", *options, "--dense-index", dense, "--encoder"]
        assert tasb(*given, f"tasb:{other_model}") == 2
        assert "other weights" in capsys.readouterr().err
        assert tasb(*given, OWN) == 0


def test_mining(index, other_model, tmp_path, capsys):
    sources = ["--topics", TINY / "topics.tsv", "--qrels", TINY / "qrels.txt", "--corpus", TINY / "corpus.jsonl"]
    given = ["mine", *sources, "--dense-index", index, "--output", tmp_path / "pairs", "--encoder"]
    assert tasb(*given, f"tasb:{other_model}") == 2
    assert "other weights" in capsys.readouterr().err
    assert tasb(*given, f"tasb:{other_model}", "--allow-other-encoder") == 0


def test_stock_commands(index, lucene, other_model, tmp_path, monkeypatch):
    other = ["--encoder", f"tasb:{other_model}"]  # the later of two options counts
    dense = ["--dense", "--flat", "--hits", 10]
    for module, folder, options in (("faiss", index, []), ("lucene", lucene, dense)):
        assert len(stock_search(f"pyserini.search.{module}", folder, tmp_path / "run", *options)) == 10
        with pytest.raises(TasbError, match=REFUSED):
            stock_search(f"pyserini.search.{module}", folder, tmp_path / "other", *options, *other)
    monkeypatch.setenv(ALLOW_OTHER, "1")
    for module, folder, options in (("faiss", index, []), ("lucene", lucene, dense)):
        assert len(stock_search(f"pyserini.search.{module}", folder, tmp_path / "run", *options, *other)) == 10


def test_the_searcher_from_python(index, other_model, searcher, monkeypatch):
    assert searcher(str(index), OWN).search("a sort", 5)
    assert searcher(str(index), None).search(np.ones((1, 32)), 5)
    for encoder in (f"tasb:{other_model}", TasbQueryEncoder(f"tasb:{other_model}")):
        with pytest.raises(TasbError, match=REFUSED):
            searcher(str(index), encoder)
    monkeypatch.setenv(ALLOW_OTHER, "yes")
    with pytest.raises(TasbError, match=rf"(?s){ALLOW_OTHER}.*found: +yes"):
        searcher(str(index), f"tasb:{other_model}")


def test_pyserinis_own_encoders(index, other_model, searcher):
    from pyserini.encode import AutoQueryEncoder

    assert searcher(str(index), AutoQueryEncoder(str(TINY_MODEL), device="cpu")).search("a sort", 5)
    with pytest.raises(TasbError, match=r"(?s)AutoQueryEncoder of .*tasb-other, which has other weights"):
        searcher(str(index), AutoQueryEncoder(str(other_model), device="cpu"))
    pooled = AutoQueryEncoder(str(TINY_MODEL), device="cpu", pooling="mean", l2_norm=True)
    with pytest.raises(TasbError, match=r"cls pooling, not mean|mean pooling, not cls"):
        searcher(str(index), pooled)


def test_nothing_is_loaded_for_folders_without_encoders(vectors, other_model, tmp_path, searcher, monkeypatch):
    folder = write_faiss_folder(tmp_path / "stock", vectors.docids, vectors.vectors)
    monkeypatch.setattr(TasbQueryEncoder, "identity", property(lambda _: pytest.fail("asked for")))
    assert searcher(str(folder), f"tasb:{other_model}").search("a sort", 5)


def test_a_damaged_manifest(index, tmp_path, capsys):
    copy = shutil.copytree(index, tmp_path / "copy")
    manifest = json.loads((copy / INDEX_MANIFEST).read_text())
    for content, said in (
        ("{", "JSON"),
        (json.dumps(manifest | {"encoders": [{"name": "tasb"}]}), "the encoders of the index"),
        (json.dumps(manifest | {"files": {"index": {}}}), "files with their sizes and checksums"),
        (json.dumps(manifest | {"version": 2}), "version 2"),
    ):
        (copy / INDEX_MANIFEST).write_text(content)
        assert search([copy], OWN, tmp_path / "run") == 2
        assert said in capsys.readouterr().err


def test_vectors_that_say_nonsense_of_their_encoder(tmp_path):
    from pyserini_tasb.encoding.vectors import VectorFolder

    vectors = np.ones((3, 4), np.float32)
    for number, encoders in enumerate([[{"name": "tasb"}], 7]):
        folder = write_vector_folder(tmp_path / str(number), ["a", "b", "c"], vectors, {"encoders": encoders})
        with pytest.raises(TasbError, match=r"manifest\.json"):
            VectorFolder(folder)
