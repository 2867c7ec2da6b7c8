"""Folders are told by their files, and where another is given by mistake, the right one is suggested."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserini_tasb.folders import FAISS, LUCENE, MODEL, VECTORS, another_folder, kind_of_folder
from tests.command_line import tasb

FILES = {
    "faiss": ["index", "docid"],
    "lucene": ["segments_1"],
    "vectors": ["manifest.json", "corpus.json"],
    "vectors/faiss": ["index", "docid"],
    "shards/a": ["index", "docid"],
    "shards/b": ["index", "docid"],
    "model": ["config.json", "model.safetensors"],
    "trained": ["config.yaml"],
    "trained/checkpoints": [],
    "trained/model": ["config.json", "model.safetensors"],
    "others": [f"{number}.txt" for number in range(20)],
    "empty": [],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, files in FILES.items():
        Path(folder).mkdir(parents=True)
        for name in files:
            (tmp_path / folder / name).write_text('{"format": "pyserini-tasb vector folder"}')


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("faiss", FAISS),
        ("lucene", LUCENE),
        ("vectors", VECTORS),
        ("model", MODEL),
        ("trained", "a training run"),
        ("others", None),
        ("empty", None),
        ("nowhere", None),
    ],
)
def test_the_kind_of_a_folder(folder, kind):
    assert kind_of_folder(Path(folder)) == kind


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("given", "wanted", "found", "do"),
    [
        ("vectors", FAISS, VECTORS, "did you mean `vectors/faiss`?"),
        ("shards", FAISS, "a folder with a, b", "did you mean `shards/a shards/b`?"),
        ("vectors/faiss", VECTORS, FAISS, "did you mean `{here}/vectors`?"),
        ("trained", MODEL, "a training run", "did you mean `trained/model`?"),
        (
            "lucene",
            FAISS,
            LUCENE,
            "search it with `python -m pyserini.search.lucene`, and with `--dense` if it has vectors",
        ),
        ("model", FAISS, MODEL, "a model is for encoder=; `tasb encode` makes vectors, and `tasb index` their index"),
        ("others", FAISS, "a folder with 0.txt, 1.txt, 10.txt, 11.txt, 12.txt, 13.txt, 14.txt, 15.txt, …", "check"),
        ("empty", FAISS, "an empty folder", "check"),
        ("fais", FAISS, "no such folder", "did you mean `faiss`?"),
        ("others/1.txt", FAISS, "a file", "if you mean its folder, give that"),
    ],
)
def test_what_may_have_been_meant(tmp_path, given, wanted, found, do):
    from pyserini_tasb.errors import TasbError

    was, advice = another_folder(Path(given), wanted, "check")
    advice = TasbError(expected="", found="", do=advice).do
    assert (was, advice) == (found, do.format(here=tmp_path))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("command", "do"),
    [
        ("search --index vectors", "install the pyserini-tasb that wrote it"),
        ("search --index trained/model", "a model is for --encoder"),
        ("search --index lucene", "check that the index is complete"),
        ("index --vectors lucene", "check the path"),
        ("index --vectors model", "a model is for --encoder"),
        ("hybrid --recipe tasb+bm25 --dense-index others --sparse-index lucene", "check which index is --dense-index"),
        ("hybrid --recipe tasb+bm25 --dense-index fais --sparse-index lucene", "did you mean `faiss`?"),
        ("mine --qrels qrels --corpus corpus.tsv --index faiss", "check the path"),
        (
            "mine --qrels qrels --corpus corpus.tsv --encoder model --dense-index shards",
            "did you mean `shards/a shards/b`",
        ),
        ("encode --encoder trained --corpus corpus.tsv", "did you mean `trained/model`?"),
        ("pairs --scored-pairs scored.tsv --corpus vectors", "a vector folder"),
    ],
)
def test_on_the_command_line(command, do, capsys):
    Path("topics.tsv").write_text("1\tquery\n")
    Path("qrels").write_text("1 0 a 1\n")
    Path("corpus.tsv").write_text("a\ttext\n")
    Path("scored.tsv").write_text("2\t1\t1\ta\tb\n")
    topics = [] if command.startswith(("encode", "index")) else ["--topics", "topics.tsv"]
    assert tasb(*command.split(), *topics, "--output", "new") == 2
    printed = capsys.readouterr().err
    assert do in printed
    assert not Path("new").exists()
