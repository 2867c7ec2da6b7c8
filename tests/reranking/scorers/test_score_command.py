"""`tasb score`: the scores are the model's, in the order of the pairs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pyserini_tasb import TasbError, score
from pyserini_tasb.artifacts import lock_file
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.text_store import write_text_store
from tests.command_line import tasb, tasb_raising
from tests.conftest import TINY, TINY_MODEL, plain_vectors
from tests.reranking.scorers.commands import WINDOW, WatchedScorer, options_of, tasb_score, written

pytestmark = pytest.mark.usefixtures("small_windows")


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    tiny = json.loads((TINY_MODEL / "config.json").read_bytes())
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tiny["vocab_size"], hidden_size=tiny["dim"], num_hidden_layers=tiny["n_layers"],
        num_attention_heads=tiny["n_heads"], intermediate_size=tiny["hidden_dim"], initializer_range=0.3, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(TINY_MODEL / file, folder)
    return folder


def read(path):
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [tuple(line[2:]) for line in lines], [line[:2] for line in lines]


def plain_scores(model, collection, distinct):
    """Pair by pair, nothing batched."""
    texts = {
        docid: f"{title} {text}"
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True)
    }
    if model == TINY_MODEL:
        vectors = [
            dict(zip(known, plain_vectors(TINY_MODEL, list(known.values())), strict=True))
            for known in (collection.topics, texts)
        ]
        return {(qid, docid): float(vectors[0][qid] @ vectors[1][docid]) for qid, docid in distinct}
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        return {
            (qid, docid): float(
                classifier(
                    **tokenizer(
                        collection.topics[qid], texts[docid], truncation=True, max_length=512, return_tensors="pt"
                    )
                ).logits[0, 0]
            )
            for qid, docid in distinct
        }


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_every_row_gets_the_model_s_two_scores(
    tmp_path, pairs, rows, distinct, collection, cross_encoder, capsys, kind
):
    model = TINY_MODEL if kind == "bi-encoder" else cross_encoder
    output = tmp_path / "new" / "out.tsv"
    assert tasb("score", *options_of(output, pairs, model)) == 0
    found, scores = read(output)
    assert found == rows
    expected = plain_scores(model, collection, distinct)
    assert np.std(list(expected.values())) > 0.1
    wanted = [[expected[qid, positive], expected[qid, negative]] for qid, positive, negative in rows]
    np.testing.assert_allclose(np.array(scores, dtype=np.float64), wanted, atol=1e-3)
    assert all(text == str(np.float32(text)) for row in scores for text in row)
    assert [path.name for path in output.parent.iterdir()] == ["out.tsv"]
    margins = np.subtract(*np.array(scores, dtype=np.float32).astype(np.float64).T)
    summary = capsys.readouterr().out
    assert f"{output}: 90 pairs, {len(distinct)} distinct scores; scored in" in summary
    assert f"margins: mean {margins.mean():.4g}, deviation {margins.std():.4g}\n" in summary


def test_each_query_and_passage_is_scored_once_sorted_by_passage(tmp_path, pairs, distinct, watch):
    watched = watch()
    tasb_score(tmp_path / "out.tsv", pairs)
    assert watched[0].pairs == sorted(set(watched[0].pairs))
    assert len(watched[0].pairs) == len(distinct) < 180
    assert {len(call) for call in watched[0].calls[:-1]} == {WINDOW}


def test_scores_and_margins_in_the_input_are_ignored(tmp_path, pairs, rows, uninterrupted):
    for name, columns in (("scored.tsv", "7.5\t1e3\t"), ("margins.tsv", "-2\t")):
        tasb_score(tmp_path / "out.tsv", written(tmp_path / name, rows, columns), "--overwrite")
        assert (tmp_path / "out.tsv").read_bytes() == uninterrupted


def test_several_files_and_text_stores(tmp_path, rows, collection, uninterrupted):
    texts = (f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True))
    write_text_store(tmp_path / "passages", zip(collection.docids, texts, strict=True))
    write_text_store(tmp_path / "queries", collection.topics.items())
    files = written(tmp_path / "a", rows[:30]), written(tmp_path / "b", rows[30:])
    stores = ("--corpus", tmp_path / "passages", "--topics", tmp_path / "queries")
    tasb_score(tmp_path / "out.tsv", files[0], "--pairs", *files, *stores)
    assert (tmp_path / "out.tsv").read_bytes() == uninterrupted
    assert (tmp_path / "passages" / "manifest.json").exists()


def test_lengths_are_the_options_s(tmp_path, pairs, rows, collection):
    tasb_score(tmp_path / "out.tsv", pairs, "--query-max-length", 6, "--max-length", 5)
    qid, docid, _ = rows[0]
    number = collection.docids.index(docid)
    query = plain_vectors(TINY_MODEL, [collection.topics[qid]], 6)[0]
    passage = plain_vectors(TINY_MODEL, [f"{collection.titles[number]} {collection.texts[number]}"], 5)[0]
    assert float(read(tmp_path / "out.tsv")[1][0][0]) == pytest.approx(query @ passage, abs=1e-3)


def test_an_output_that_is_there_is_replaced_only_if_told_to(tmp_path, pairs, uninterrupted):
    output = tmp_path / "out.tsv"
    output.write_text("precious")
    with pytest.raises(TasbError, match="add overwrite=True to replace it"):
        tasb_score(output, pairs)
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]
    tasb_score(output, pairs, "--overwrite")
    assert output.read_bytes() == uninterrupted
    with pytest.raises(TasbError, match=r"found: +a folder"):
        tasb_score(tmp_path, pairs, "--overwrite")


@pytest.mark.parametrize("option", ["--pairs", "--corpus", "--topics", "--ensemble"])
def test_no_input_is_replaced(tmp_path, pairs, option):
    output = tmp_path / "input"
    output.write_text("precious")
    given = {"--model": TINY_MODEL, "--pairs": pairs, "--corpus": "c", "--topics": "q"} | {option: output}
    options = [option, output, pairs] if option == "--ensemble" else [part for pair in given.items() for part in pair]
    with pytest.raises(TasbError, match="it is also an input"):
        tasb_raising("score", *options, "--output", output, "--overwrite")
    assert output.read_text() == "precious"


def test_two_processes_are_kept_apart(tmp_path, pairs):
    with lock_file(tmp_path / "out.tsv.lock"), pytest.raises(TasbError, match="another one is running"):
        tasb_score(tmp_path / "out.tsv", pairs)
    tasb_score(tmp_path / "out.tsv", pairs)


def test_ids_without_text_are_named(tmp_path, pairs, rows):
    other = written(tmp_path / "other.tsv", [*rows[:2], ("1", "CACM-0001", "CACM-nowhere"), ("77", *rows[0][1:])])
    with pytest.raises(TasbError) as caught:
        tasb_score(tmp_path / "out.tsv", pairs, "--pairs", pairs, other)
    assert f"{other}:3: passage CACM-nowhere has no text" in caught.value.found
    assert f"{other}:4: query 77 has no text" in caught.value.found
    assert "--skip-bad" not in caught.value.do
    assert [path.name for path in tmp_path.iterdir()] == ["other.tsv"]


@pytest.mark.parametrize("nonsense", [np.nan, -np.inf])
def test_scores_that_are_no_numbers_are_refused(tmp_path, pairs, watch, nonsense):
    class Broken(WatchedScorer):
        def score_pairs(self, *arguments):
            scores = super().score_pairs(*arguments)
            if len(self.calls) == 2:
                scores[5] = nonsense
            return scores

    watched = watch(wrap=Broken)
    with pytest.raises(TasbError, match="scores that are finite numbers") as caught:
        tasb_score(tmp_path / "out.tsv", pairs)
    ids = [[id_ for id_, _ in open_collection(TINY / name)] for name in ("corpus.jsonl", "topics.tsv")]
    passage, query = watched[0].calls[1][5]
    assert f"{nonsense} for query {ids[1][query]}, passage {ids[0][passage]}; 1 of " in caught.value.found
    assert (tmp_path / "out.tsv.part").stat().st_size == 4 * WINDOW


def test_pickled_weights_only_if_told_to(tmp_path, pairs, uninterrupted):
    pickled = shutil.copytree(TINY_MODEL, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(TasbError, match="pickle"):
        tasb_score(tmp_path / "out.tsv", pairs, model=pickled)
    tasb_score(tmp_path / "out.tsv", pairs, "--allow-bin", model=pickled)
    assert (tmp_path / "out.tsv").read_bytes() == uninterrupted


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"model": "m"}, "no pairs=, no corpus=, no topics="),
        ({"model": "m", "pairs": "p", "topics": "q"}, "no corpus="),
        ({"ensemble": ["a", "b"], "pairs": "p", "allow_bin": True}, "pairs=, allow_bin="),
        ({"ensemble": ["a", "b"], "max_length": 0, "device": "cpu"}, "max_length=, device="),
        ({"pairs": "p"}, "neither"),
        ({"model": "m", "ensemble": ["a", "b"]}, "both"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, found):
    with pytest.raises(TasbError) as caught:
        score(**options, output=tmp_path / "new" / "out.tsv")
    assert caught.value.found == found
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "named"), [("--max-length", "max_length"), ("--query-max-length", "query_max_length")]
)
def test_lengths_without_room_for_a_text(tmp_path, pairs, option, named):
    with pytest.raises(TasbError, match=rf"{named}= of at least 3(?s:.*)found: +2\n"):
        tasb_score(tmp_path / "out.tsv", pairs, option, 2)
    tasb_score(tmp_path / "out.tsv", pairs, option, 3, "--allow-reversed")  # of so few tokens chance decides


def test_a_model_that_is_not_there_is_told_before_anything_is_read(tmp_path, pairs, capsys):
    options = options_of(tmp_path / "out.tsv", pairs, tmp_path / "nowhere")
    assert tasb("score", *options, "--corpus", "nowhere") == 2
    assert "no such folder" in capsys.readouterr().err


def test_nowhere_to_write(tmp_path, pairs):
    with pytest.raises(TasbError, match=r"pairs\.tsv is a file"):
        tasb_score(pairs / "out.tsv", pairs)


def test_an_ensemble(tmp_path, capsys):
    files = tmp_path / "a.tsv", tmp_path / "b.tsv"
    files[0].write_text("1\t2\tq1\tp1\tp2\n")
    files[1].write_text("5\t7\tq1\tp1\tp2\n0\t1\tq2\tp1\tp2\n")
    options = ("score", "--ensemble", *files, "--output", tmp_path / "mean.tsv", "--allow-reversed")
    assert tasb(*options) == 0
    assert (tmp_path / "mean.tsv").read_text() == "3.0\t4.5\tq1\tp1\tp2\n"
    summary = capsys.readouterr().out
    assert "mean.tsv: 1 pairs, 2 distinct scores, means of 2 files" in summary
    assert f"2 scores are left out: {files[0]} has no pair with them" in summary
    assert tasb(*options) == 2
    assert "add --overwrite" in capsys.readouterr().err
    files[0].write_text("2\t2\tq1\tp1\tp2\n")
    assert tasb(*options, "--overwrite") == 0
    assert (tmp_path / "mean.tsv").read_text() == "3.5\t4.5\tq1\tp1\tp2\n"


def test_scores_that_contradict_the_labels_are_refused_but_not_lost(tmp_path, pairs, rows, capsys):
    output = tmp_path / "out.tsv"
    tasb_score(output, pairs)
    agreeing, scores = 0, output.read_text().splitlines()
    for line in scores:
        positive, negative = map(float, line.split("\t")[:2])
        agreeing += positive > negative
    assert f"{TINY_MODEL} agrees with the labels in {100 * agreeing / 90:.3g} % of 90 pairs" in capsys.readouterr().out
    assert agreeing > 45
    swapped = written(tmp_path / "swapped.tsv", [(qid, negative, positive) for qid, positive, negative in rows])
    with pytest.raises(TasbError, match="are the columns swapped") as caught:
        tasb_score(output, swapped, "--overwrite")
    assert caught.value.where == str(swapped)
    assert "out.tsv.part" in caught.value.do
    assert output.read_text().splitlines() == scores
    tasb_score(output, swapped, "--overwrite", "--allow-reversed")
    assert "140 of them from an earlier run" in capsys.readouterr().out
    assert not output.with_name("out.tsv.part").exists()


def test_a_pair_whose_positive_is_its_negative_is_refused(tmp_path, rows):
    qid, positive, _ = rows[0]
    path = written(tmp_path / "same.tsv", [rows[0], (qid, positive, positive)])
    with pytest.raises(TasbError, match=f"same.tsv:2: passage {positive} is the positive and the negative"):
        tasb_score(tmp_path / "out.tsv", path)
