"""`tasb train` from a configuration to an encoder that Pyserini takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pyserini_tasb import TasbQueryEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.train import train
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, assert_top_hits, encode_corpus, plain_vectors, run_module
from tests.models.causal_models import causal_model, last_vectors, tokenizer_without_cls

VALIDATED = {"validation": {"every": 2, "patience": 2}, "checkpoint": {"every": 2}}


def records(run_folder, kind):
    lines = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == kind]


@pytest.fixture(scope="module")
def trained(training_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
    # Without dropout so few steps help whatever its random numbers.
    calm = ("student.dropout=0", "student.attention_dropout=0")
    result = train(training_set.config(folder, data=data, **VALIDATED), settings=calm)
    best = max(records(folder / "run", "evaluation"), key=lambda record: record["value"])
    assert result.folder == folder / "run"
    assert Path(result) == result.model == folder / "run" / "model"
    assert (result.metrics, result.best_step) == ({"nDCG@10": best["value"]}, best["step"])
    assert f"best nDCG@10 {best['value']:.4f} at step {best['step']}" in result.summary
    assert f"<td>{result.encoder}</td>" in result._repr_html_()
    return result.folder


def test_it_ends_with_a_plain_hugging_face_folder(trained):
    files = {path.name for path in (trained / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "curves.png"} <= files
    modes = {path.stat().st_mode for path in (trained / "model").rglob("*") if path.is_file()}
    assert len(modes) == 1  # all for the same readers
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl"))}
    before, after = (load_file(folder / "model.safetensors") for folder in (TINY_MODEL, trained / "model"))
    assert not all(torch.equal(after[name], weights) for name, weights in before.items())
    tokenizer = json.loads((trained / "model" / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None  # not the training's cap


def test_the_card_says_what_it_was_made_of(trained):
    card = (trained / "model" / "README.md").read_text()
    name = yaml.safe_load((trained / "config.yaml").read_text())["name"]
    best = max(records(trained, "evaluation"), key=lambda record: record["value"])
    for said in (
        f"{best['value']:.4f}",
        "nDCG@10",
        "tas-balanced",
        "learning_rate",
        f"--encoder tasb:{name}",
        TINY_MODEL.name,
    ):
        assert said in card, said
    assert str(TINY_MODEL.parent) not in card  # where things were is nobody's business
    assert (trained / "curves.png").stat().st_size > 10_000


def test_sentence_transformers_takes_it_at_once(trained, collection):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(trained / "model"), device="cpu")
    passages, queries = collection.texts[:20], list(collection.topics.values())
    found = model.encode_query(queries), model.encode_document(passages)
    expected = plain_vectors(trained / "model", queries), plain_vectors(trained / "model", passages)
    for theirs, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(theirs, plain, atol=1e-5)
    np.testing.assert_allclose(model.similarity(*found), expected[0] @ expected[1].T, rtol=1e-5)


def test_a_causal_student_ends_so_that_others_can_read_it(training_set, tmp_path, collection):
    from sentence_transformers import SentenceTransformer

    start = causal_model(tmp_path / "gpt2", "gpt2")
    # A GPT-2 adds the vector of word 0 or 1 for each of the segments, which training does not give it.
    tokenizer_without_cls(start, ("input_ids", "token_type_ids", "attention_mask"))
    student = {"model": str(start), "pooling": "last", "passage_max_length": 40}
    train(training_set.config(tmp_path, student=student, max_steps=2))
    folder, texts = tmp_path / "run" / "model", collection.texts[:9]
    expected = last_vectors(folder, texts)
    np.testing.assert_allclose(SentenceTransformer(str(folder), device="cpu").encode(texts), expected, atol=1e-5)
    encoder = TasbQueryEncoder(str(next(folder.glob("*.yaml"))))
    np.testing.assert_allclose(encoder.encode_batch(texts), expected, atol=1e-5)
    assert (folder / "README.md").read_text().count("last token's last hidden state") == 1


def test_stock_pyserini_takes_it_at_once(trained, collection, tmp_path):
    name = yaml.safe_load((trained / "config.yaml").read_text())["name"]
    encode_corpus(TINY / "corpus.jsonl", tmp_path / "index", "--to-faiss", "--dimension", "32", encoder=f"tasb:{name}")
    run_module(
        "pyserini.search.faiss", "--index", tmp_path / "index", "--encoder", f"tasb:{name}", "--device", "cpu",
        "--topics", TINY / "topics.tsv", "--output", tmp_path / "run.txt", "--hits", 5,
    )  # fmt: skip
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    queries = plain_vectors(trained / "model", list(collection.topics.values()))
    scores = queries @ plain_vectors(trained / "model", passages, 256).T
    expected = {
        qid: dict(zip(collection.docids, row.tolist(), strict=True))
        for qid, row in zip(collection.topics, scores, strict=True)
    }
    assert_top_hits(tmp_path / "run.txt", expected, depth=5)


def test_the_best_evaluation_is_what_is_kept(trained, training_set):
    evaluations = records(trained, "evaluation")
    best = max(evaluations, key=lambda record: record["value"])
    assert [record["step"] for record in evaluations] == list(range(0, evaluations[-1]["step"] + 1, 2))
    kept = load_file(trained / "checkpoints" / f"step-{best['step']:08d}" / "model.safetensors")
    final = load_file(trained / "model" / "model.safetensors")
    assert all(torch.equal(final[name], kept[f"transformer.{name}"]) for name in final)


def test_its_evaluation_is_the_models_own_ranking(trained, training_set):
    from pyserini_tasb.data.validation_set import ValidationSet

    validation = ValidationSet(training_set.validation)
    queries = plain_vectors(trained / "model", validation.queries.texts(range(len(validation.queries))), 30)
    passages = plain_vectors(trained / "model", validation.passages.texts(range(len(validation.passages))), 40)
    best = max(record["value"] for record in records(trained, "evaluation"))
    products = validation.products(queries.astype(np.float32), passages.astype(np.float32))
    assert validation.measure(products) == pytest.approx(best, abs=1e-6)


def test_a_margin_that_can_be_learned_is_learned(training_set, tmp_path):
    """The pairwise loss falls to a fraction: all pairs are seen again and again."""
    config = training_set.config(
        tmp_path,
        loss={"in_batch": None},
        student={"model": str(training_set.model), "dropout": 0.0, "attention_dropout": 0.0, "passage_max_length": 20},
        sampling={"strategy": "random"},
        batch_size=24,
        max_steps=60,
        optimiser={"learning_rate": 3e-3},
    )
    train(config)
    losses = [record["loss"] for record in records(tmp_path / "run", "step")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 3


def test_early_stopping(training_set, tmp_path, caplog):
    data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
    config = training_set.config(
        tmp_path, data=data, validation={"every": 1, "patience": 2}, optimiser={"learning_rate": 1e-12}, max_steps=None
    )
    result = train(config)  # without max_steps: nothing but patience ends it
    assert (result.ended_by, result.best_step, result.steps) == ("early stopping", 0, 2)
    assert "validation queries are also trained on" in caplog.text
    evaluations = records(tmp_path / "run", "evaluation")
    assert [record["best"] for record in evaluations] == [True, False, False]


def test_accumulated_batches_weigh_as_one(training_set, tmp_path):
    """Gradients of two accumulated batches are the mean of both, so the loss scale is that of one batch."""
    norms = {}
    for accumulate, steps in ((1, 2), (2, 1)):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        config = training_set.config(
            folder,
            student={"model": str(training_set.model), "dropout": 0.0, "attention_dropout": 0.0},
            optimiser={"learning_rate": 1e-12},
            accumulate=accumulate,
            max_steps=steps,
        )
        train(config)
        norms[accumulate] = records(folder / "run", "step")
    assert norms[2][0]["loss"] == pytest.approx(np.mean([record["loss"] for record in norms[1]]), rel=1e-5)
    assert norms[2][0]["gradient_norm"] <= np.mean([record["gradient_norm"] for record in norms[1]]) * (1 + 1e-6)


@pytest.mark.parametrize("in_batch", ["margin-mse-eq7", "margin-mse-released", "kldiv", "listnet", "lambdarank"])
def test_every_in_batch_loss_trains(training_set, tmp_path, in_batch):
    train(training_set.config(tmp_path, loss={"in_batch": in_batch}, max_steps=2))
    assert all(np.isfinite(record["in_batch"]) for record in records(tmp_path / "run", "step"))


def test_the_gradient_cache_trains_the_same(training_set, tmp_path):
    losses = []
    for cached in (False, True):
        folder = tmp_path / str(cached)
        folder.mkdir()
        train(training_set.config(folder, gradient_cache=cached, tokens_per_forward=60, max_steps=3))
        losses.append([record["loss"] for record in records(folder / "run", "step")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_with_the_batch_saved(training_set, tmp_path, capsys):
    config = training_set.config(tmp_path, optimiser={"learning_rate": 1e30}, schedule={"warmup_steps": 0})
    with pytest.raises(TasbError, match="a finite loss") as error:
        train(config)
    batch = json.loads(open(error.value.where).read())  # noqa: PTH123, SIM115
    assert len(batch["pairs"]) == 4
    assert {"query_text", "positive_text", "negative_text", "margin", "query"} <= batch["pairs"][0].keys()
    assert "nan" in error.value.found or "inf" in error.value.found


def test_a_name_that_is_taken_is_refused_before_training(training_set, tmp_path):
    with pytest.raises(TasbError, match="comes with pyserini-tasb"):
        train(training_set.config(tmp_path, name="tasb"))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def reversed_pairs(training_set, tmp_path_factory):
    """The pairs of the training set with the scores' columns swapped, in a store that was built anyway."""
    folder = tmp_path_factory.mktemp("reversed")
    source = training_set.pairs.parent
    rows = [line.split("\t") for line in (source / "scores.tsv").read_text().splitlines()]
    (folder / "swapped.tsv").write_text("".join("\t".join((low, high, *ids)) + "\n" for high, low, *ids in rows))
    options = {"--scored-pairs": folder / "swapped.tsv", "--corpus": source / "collection.tsv"}
    options |= {"--topics": source / "queries.tsv", "--output": folder / "pairs"}
    words = [str(word) for option in options.items() for word in option]
    assert tasb("pairs", *words) == 2
    assert tasb("pairs", *words, "--allow-reversed") == 0
    return folder / "pairs"


def older(store, folder):
    """The store as an older version would have built it."""
    shutil.copytree(store, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["agreement"], manifest["left_out"]
    del manifest["recipe"]["allow_reversed"], manifest["recipe"]["keep_query"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("verb", ["train", "teach"])
def test_pairs_whose_teacher_contradicts_the_labels(verb, training_set, reversed_pairs, tmp_path, capsys):
    settings = {"clusters": str(training_set.clusters)} if verb == "train" else {}
    config = training_set.config(
        tmp_path, data={"pairs": str(older(reversed_pairs, tmp_path / "older")), **settings}, max_steps=1
    )
    if verb == "teach":
        teacher = {"name": "cat", "output": str(tmp_path / "run"), "teacher": {"model": str(TINY_MODEL)}}
        values = yaml.safe_load(config.read_text())
        kept = {key: values[key] for key in ("data", "batch_size", "max_steps", "workers", "precision")}
        config.write_text(yaml.safe_dump(teacher | kept))
    command = ["train", str(config)] if verb == "train" else ["teach", "--kind", "cat", str(config)]
    assert tasb(*command) == 2
    error = capsys.readouterr().err
    assert "95.3 % of the pairs the teacher puts the negative first: are the columns swapped?" in error
    assert "`data: {allow_reversed: true}`" in error
    assert not (tmp_path / "run").exists()
    assert tasb(*command, "--set", "data.allow_reversed=true") == 0
    said = capsys.readouterr().err
    assert f"tasb {verb}: note: pairs: the teacher agrees with the labels in 4.61 % of" in said
    assert f"tasb {verb}: warning: in 95.3 % of the pairs the teacher puts the negative first" in said
    # Whoever built the store with --allow-reversed has decided.
    other = ("name=again", f"output={tmp_path / 'again'}", f"data.pairs={reversed_pairs}")
    assert tasb(*command, "--set", *other) == 0
    assert "warning: in 95.3 % of the pairs" in capsys.readouterr().err


def test_the_switch_may_be_added_to_a_run_that_an_older_version_began(training_set, tmp_path):
    config = training_set.config(tmp_path, max_steps=1)
    train(config)
    began = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(began.read_text())
    del values["data"]["allow_reversed"]
    began.write_text(yaml.safe_dump(values))
    assert train(config, settings=["max_steps=2"]).steps == 2


def test_a_strange_scale_is_warned_about_and_can_be_fixed(training_set, tmp_path, caplog):
    small = {"in_batch": f"tasb:{training_set.teacher}", "rescale": {"mean": 0.1, "deviation": 0.05}}
    train(training_set.config(tmp_path, teacher=small, max_steps=1))
    assert "Rescale them" in caplog.text
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000001" / "state.json").read_text())
    assert state["margins"]["pairwise"]["scale"] == pytest.approx(0.05 / 2.85, rel=0.05)


@pytest.mark.parametrize(("clusters", "taken", "said"), [(1, 1, "1 cluster, "), (3, 3, "3 clusters, "), (3, 2, None)])
def test_clusters_that_give_a_batch_no_topic_are_warned_about(training_set, tmp_path, caplog, clusters, taken, said):
    qids = training_set.clusters.read_text().split()
    parts = [qids[number::clusters] for number in range(clusters)]
    (tmp_path / "few.tsv").write_text("".join("\t".join(part) + "\n" for part in parts))
    data = {"pairs": str(training_set.pairs), "clusters": str(tmp_path / "few.tsv")}
    train(training_set.config(tmp_path, data=data, sampling={"clusters_per_batch": taken}, max_steps=1))
    assert (f"the queries of the pairs are in {said}" in caplog.text) if said else ("have no topic" not in caplog.text)


def test_a_folder_with_something_else_is_not_trained_into(training_set, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "weights.txt").write_text("precious")
    with pytest.raises(TasbError, match="found:    a folder with model"):
        train(training_set.config(tmp_path))
    assert (tmp_path / "run" / "model" / "weights.txt").read_text() == "precious"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model"]


@pytest.mark.parametrize("device", ["cuda:99", "gpu", ""])
def test_a_device_that_is_not_here_is_refused(device, training_set, tmp_path):
    with pytest.raises(TasbError, match=rf"computes on here: cpu[\s\S]*`{device}`"):
        train(training_set.config(tmp_path, device=device))
