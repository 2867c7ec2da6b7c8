"""`tasb expand --model`: a tiny T5 with random weights, interrupted and taken up again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest

from pyserini_tasb.data.pseudo_queries import first_words
from pyserini_tasb.expansion import from_model
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.workers import StopRequest
from tests.command_line import tasb, tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.retrieval.hybrid.lucene_indexes import index_folder

PASSAGES = 26
OPTIONS = ("--samples", 3, "--shard-size", 8)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A T5 of one layer, with the tiny model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5") / "tiny-t5"
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": len(tokenizer)}
    tokens = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": tokenizer.sep_token_id}
    T5ForConditionalGeneration(T5Config(**sizes, **tokens)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The first passages of the tiny collection."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join((TINY / "corpus.jsonl").open().readlines()[:PASSAGES]))
    return path


def arguments_of(collection, model, output, *options):
    given = ["--corpus", collection, "--model", model, "--output", output, "--device", "cpu", *options]
    return ["expand", *map(str, given)]


def expand(*arguments):
    return tasb(*arguments_of(*arguments))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def passages(folder):
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    return {record["id"]: record["contents"] for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def expanded(corpus, t5, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expanded") / "expanded"
    assert expand(corpus, t5, folder, *OPTIONS) == 0
    return folder


def test_every_passage_with_its_queries(expanded, collection):
    assert len(files(expanded)) == -(-PASSAGES // 8)
    found = passages(expanded)
    assert list(found) == collection.docids[:PASSAGES]
    queries = {}
    for docid, title, text in zip(found, collection.titles, collection.texts, strict=False):
        passage = f"{title} {text}".strip()
        assert found[docid].startswith(passage)
        queries[docid] = found[docid].removeprefix(passage).split()
        assert len(queries[docid]) >= 3
    assert len({tuple(words) for words in queries.values()}) > PASSAGES // 2
    assert "[SEP]" not in " ".join(found.values())


def test_seeds(corpus, t5, expanded, tmp_path):
    assert expand(corpus, t5, tmp_path / "same", *OPTIONS, "--seed", 0) == 0
    assert files(tmp_path / "same") == files(expanded)
    assert [path.name for path in tmp_path.iterdir()] == ["same"]
    assert expand(corpus, t5, tmp_path / "other", *OPTIONS, "--seed", -1) == 0
    assert passages(tmp_path / "other").keys() == passages(expanded).keys()
    assert passages(tmp_path / "other") != passages(expanded)
    # With one token to draw from, there is nothing to draw.
    for seed in (1, 2):
        assert expand(corpus, t5, tmp_path / f"greedy{seed}", *OPTIONS, "--top-k", 1, "--seed", seed) == 0
    assert files(tmp_path / "greedy1") == files(tmp_path / "greedy2")


def test_a_passage_is_found_by_a_predicted_query(expanded, collection, tmp_path):
    from pyserini.search.lucene import LuceneSearcher

    plain = " ".join([*collection.titles, *collection.texts]).lower().split()
    predicted = {
        word: docid
        for docid, contents in passages(expanded).items()
        for word in contents.split()[-20:]
        if word.isalpha() and len(word) > 4 and word not in plain
    }
    word, docid = next(iter(predicted.items()))
    searcher = LuceneSearcher(str(index_folder(expanded, tmp_path / "index")))
    assert docid in [hit.docid for hit in searcher.search(word, 200)]


def test_killed_and_taken_up_again(corpus, t5, expanded, tmp_path):
    output = tmp_path / "expanded"
    command = tasb_argv(*arguments_of(corpus, t5, output, *OPTIONS))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while len(list((tmp_path / "expanded.work" / "passages").glob("*.jsonl"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    done = files(tmp_path / "expanded.work" / "passages")
    assert len(done) < len(files(expanded))
    (tmp_path / "expanded.work" / "passages" / "000009.jsonl.1.part").write_text("cut of")
    assert expand(corpus, t5, output, *OPTIONS) == 0
    assert files(output) == files(expanded)
    assert not (tmp_path / "expanded.work").exists()


@pytest.fixture
def interrupted(corpus, t5, tmp_path, monkeypatch, capsys):
    """An output whose work was interrupted after two parts."""
    written = []

    def write_and_stop(path, records):
        written.append(write_shard(path, records))
        stop.made = len(written) == 2

    write_shard = from_model.write_shard
    with StopRequest() as stop, monkeypatch.context() as patch:
        patch.setattr(from_model, "write_shard", write_and_stop)
        patch.setattr("pyserini_tasb.expansion.expand.StopRequest", lambda: stop)
        assert expand(corpus, t5, tmp_path / "out", *OPTIONS) == 130
    assert written == [8, 8]
    note = f"note: {tmp_path / 'out'}: interrupted; the same command continues where it stopped\n"
    assert capsys.readouterr().err.endswith(f"tasb expand: {note}\ntasb expand: interrupted\n")
    return tmp_path / "out"


def test_interrupted(corpus, t5, expanded, interrupted):
    assert not interrupted.exists()
    assert expand(corpus, t5, interrupted, *OPTIONS) == 0
    assert files(interrupted) == files(expanded)


def test_parts_of_something_else(corpus, t5, interrupted, tmp_path, capsys):
    before = files(tmp_path / "out.work" / "passages")
    assert expand(corpus, t5, interrupted, *OPTIONS, "--seed", 1, "--top-k", 5) == 2
    assert "passages with another top_k, seed" in capsys.readouterr().err
    assert expand(corpus, t5, interrupted, "--samples", 3, "--shard-size", 9) == 2
    assert "another collection, shard_size" in capsys.readouterr().err
    shorter = tmp_path / "corpus.jsonl"
    shorter.write_text("".join(corpus.open().readlines()[:-1]))
    assert expand(shorter, t5, interrupted, *OPTIONS) == 2
    assert "another collection" in capsys.readouterr().err
    assert files(tmp_path / "out.work" / "passages") == before
    assert not interrupted.exists()


def test_a_passage_without_text(t5, tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "a", "contents": ""}\n{"id": "b", "contents": "graph theory"}\n')
    assert expand(tmp_path / "c.jsonl", t5, tmp_path / "out", "--samples", 2) == 0
    found = passages(tmp_path / "out")
    assert found["a"] == ""
    assert found["b"].startswith("graph theory ")
    (tmp_path / "empty.jsonl").write_text('{"id": "a", "contents": ""}\n')
    assert expand(tmp_path / "empty.jsonl", t5, tmp_path / "none") == 0
    assert passages(tmp_path / "none") == {"a": ""}


def test_a_faulty_collection(t5, tmp_path, capsys):
    (tmp_path / "c.tsv").write_text("a\tgraph theory\na\tnetworks\n")
    assert expand(tmp_path / "c.tsv", t5, tmp_path / "out") == 2
    assert "c.tsv:2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.tsv"]


def test_models_that_are_none(corpus, t5, tmp_path, capsys):
    assert expand(corpus, TINY_MODEL, tmp_path / "out") == 2
    assert "Unrecognized configuration class" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    pickled = shutil.copytree(t5, tmp_path / "pickled")
    import torch
    from safetensors.torch import load_file

    weights = load_file(pickled / "model.safetensors")
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    assert expand(corpus, pickled, tmp_path / "out") == 2
    assert "which is a pickle" in capsys.readouterr().err
    options = ["--samples", 1, "--shard-size", 200]
    assert expand(corpus, pickled, tmp_path / "out", *options, "--allow-bin") == 0
    assert expand(corpus, t5, tmp_path / "safe", *options) == 0
    assert files(tmp_path / "out") == files(tmp_path / "safe")
    del weights["shared.weight"], weights["decoder.final_layer_norm.weight"]
    torch.save(weights, pickled / "pytorch_model.bin")
    assert expand(corpus, pickled, tmp_path / "again", *options, "--allow-bin") == 2
    assert "would be random numbers" in capsys.readouterr().err


def test_queries_by_themselves_make_the_same_expanded_passages_and_training_queries(corpus, t5, expanded, tmp_path):
    assert expand(corpus, t5, tmp_path / "queries", *OPTIONS, "--queries-only") == 0
    lines = [line for path in sorted((tmp_path / "queries").iterdir()) for line in path.read_text().splitlines()]
    assert {len(record["predicted_queries"]) for record in map(json.loads, lines)} == {3}
    predictions = sorted((tmp_path / "queries").iterdir())
    options = ["--predictions", *predictions, "--shard-size", 8, "--output", tmp_path / "again"]
    assert tasb("expand", "--corpus", corpus, *options) == 0
    assert passages(tmp_path / "again") == passages(expanded)
    pseudo = ["pseudo-queries", "--corpus", corpus, "--min-words", 1, "--predictions", tmp_path / "queries"]
    assert tasb(*pseudo, "--output", tmp_path / "pseudo") == 0
    made = read_topics(tmp_path / "pseudo" / "queries.tsv")
    predicted = {
        f"pseudo-{record['id']}-{number}": first_words(" ".join(query.split()), 25)
        for record in map(json.loads, lines)
        for number, query in enumerate(record["predicted_queries"], 1)
    }
    assert made.keys() <= predicted.keys()
    assert {qid: predicted[qid] for qid in made} == made
    assert len(made) > PASSAGES


def test_queries_by_themselves_need_a_model(corpus, tmp_path, capsys):
    assert (
        tasb("expand", "--corpus", corpus, "--predictions", corpus, "--queries-only", "--output", tmp_path / "o") == 2
    )
    assert "--predictions and --queries-only" in capsys.readouterr().err
