"""Options of training from later work, trained end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

import pyserini_tasb as tasb
from pyserini_tasb import pairs
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "passage_max_length": 40}


def steps(run_folder):
    lines = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == "step"]


@pytest.fixture(scope="module")
def labels_only(training_set, tmp_path_factory):
    """The pairs of the training set without a teacher's scores."""
    folder, source = tmp_path_factory.mktemp("labels"), training_set.pairs.parent
    rows = [line.split("\t")[2:] for line in (source / "scores.tsv").read_text().splitlines()]
    (folder / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    pairs(
        scored_pairs=folder / "pairs.tsv",
        corpus=source / "collection.tsv",
        topics=source / "queries.tsv",
        output=folder / "pairs",
    )
    return folder / "pairs"


def test_infonce_learns_from_labels_without_any_teacher(training_set, labels_only, tmp_path):
    config = training_set.config(
        tmp_path,
        student={"model": str(training_set.model), "normalise": True, **NO_DROPOUT},
        data={"pairs": str(labels_only), "clusters": str(training_set.clusters)},
        teacher={},
        loss={"pairwise": None, "in_batch": "infonce", "temperature": 0.05},
        sampling={"strategy": "tas"},
        optimiser={"learning_rate": 3e-3},
        batch_size=8,
        max_steps=30,
    )
    train(config)
    losses = [step["in_batch"] for step in steps(tmp_path / "run")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "infonce" in card
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["loss"]["temperature"] == 0.05


def test_another_temperature_is_another_run(training_set, tmp_path):
    config = training_set.config(tmp_path, teacher={}, loss={"in_batch": "infonce"}, max_steps=1)
    train(config)
    assert "temperature" not in yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["loss"]
    with pytest.raises(TasbError, match=r"`loss.temperature`: 2.0, was None"):
        train(config, settings=["loss.temperature=2", "max_steps=2"])


ALL = {
    "sampling": {"negatives": 3},
    "loss": {
        "pairwise": "lambda-mrr",
        "in_batch": "infonce",
        "matryoshka": {"dimensions": [32, 8], "weights": [1, 0.5]},
        "curriculum": {"ranks": [1, 4], "steps": [2]},
    },
    "teacher": {},
}


def test_several_negatives_and_lengths_in_one_process_or_two(training_set, tmp_path):
    """An odd batch: the processes' shares differ in size, and with them the shares of the negatives."""
    records = {}
    for processes, precompute in ((1, "never"), (2, "never"), (1, "always")):
        folder = tmp_path / f"{processes}-{precompute}"
        folder.mkdir()
        config = training_set.config(
            folder,
            student={"model": str(training_set.model), **NO_DROPOUT},
            sampling={"negatives": 3},
            loss={"pairwise": "kldiv", "matryoshka": {"dimensions": [32, 8]}},
            teacher={"in_batch": f"tasb:{training_set.teacher}", "precompute": precompute},
            batch_size=5,
            max_steps=4,
        )
        if processes == 1:
            train(config, settings=["device=cpu"])
        else:
            tasb_processes(processes, "train", config, "--set", "device=cpu")
        records[processes, precompute] = steps(folder / "run")
    for other, tolerance in (((2, "never"), 1e-5), ((1, "always"), 1e-4)):
        for part in ("pairwise", "in_batch", "gradient_norm"):
            expected, found = ([step[part] for step in records[key]] for key in ((1, "never"), other))
            assert len(expected) == 4
            assert found == pytest.approx(expected, rel=tolerance)


def test_a_run_with_all_options_goes_on_in_the_same_bits(training_set, tmp_path):
    weights = []
    for stops in ([6], [3, 6]):
        folder = tmp_path / f"{len(stops)}"
        folder.mkdir()
        config = training_set.config(folder, **ALL, checkpoint={"every": 2})
        for stop in stops:
            train(config, settings=[f"max_steps={stop}"])
        weights.append((folder / "run" / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_curriculum_asks_for_more_ranks_stage_by_stage(training_set, tmp_path):
    curves = {}
    for name, ranks in (("easy", [1]), ("rising", [1, 4]), ("hard", [4])):
        folder = tmp_path / name
        folder.mkdir()
        curriculum = {"ranks": ranks, "steps": [2] * (len(ranks) - 1)}
        config = training_set.config(
            folder,
            student={"model": str(training_set.model), **NO_DROPOUT},
            sampling={"negatives": 3},
            loss={"pairwise": "lambda-mrr", "in_batch": None, "curriculum": curriculum},
            optimiser={"learning_rate": 1e-12},
            max_steps=4,
        )
        train(config)
        curves[name] = [step["pairwise"] for step in steps(folder / "run")]
    assert curves["rising"][:2] == pytest.approx(curves["easy"][:2], rel=1e-4)
    assert curves["rising"][2:] == pytest.approx(curves["hard"][2:], rel=1e-4)
    assert curves["rising"][2] > curves["easy"][2]


def test_fewer_negatives_than_a_batch_takes_are_noted(training_set, tmp_path, caplog):
    caplog.set_level("INFO", "pyserini_tasb")
    train(training_set.config(tmp_path, loss={"in_batch": None}, sampling={"negatives": 7}, max_steps=1))
    queries = len(open_pair_store(training_set.pairs).queries)
    assert f"{queries} of the {queries} queries' positives have fewer than 7 negatives" in caplog.text


@pytest.mark.parametrize("normalise", [False, True])
def test_vectors_can_be_cut_after_matryoshka(training_set, tmp_path, normalise):
    loss = {"in_batch": "infonce", "temperature": 0.1, "matryoshka": {"dimensions": [32, 8]}}
    student = {"model": str(training_set.model), "normalise": normalise}
    result = train(training_set.config(tmp_path, teacher={}, student=student, loss=loss, max_steps=2))
    readme = (result.model / "README.md").read_text()
    assert "| Vectors can be cut | to their first 8 numbers: `dimension: 8` in an encoder card" in readme
    card = tmp_path / "short.yaml"
    card.write_text(f"name: short\nmodel: {result.model}\nnormalise: {str(normalise).lower()}\ndimension: 8\n")
    texts = ["what is a vector", "a passage about vectors"]
    whole, short = (tasb.encode(texts=texts, encoder=encoder) for encoder in (result.encoder, f"tasb:{card}"))
    cut = whole[:, :8] / (np.linalg.norm(whole[:, :8], axis=1, keepdims=True) if normalise else 1)
    np.testing.assert_allclose(short, cut, atol=1e-6)


@pytest.mark.parametrize(("dimensions", "do"), [([16, 8], "add 32"), ([64, 32], "add 32, and remove longer ones")])
def test_lengths_that_vectors_do_not_have(training_set, tmp_path, dimensions, do):
    loss = {"matryoshka": {"dimensions": dimensions}}
    with pytest.raises(TasbError, match="with 32, the student's own, as the longest") as error:
        train(training_set.config(tmp_path, loss=loss))
    assert error.value.do == do
