"""`tasb teach`: from a configuration to a model that scores, in a folder that scorers take."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pyserini_tasb.data.validation_set import ValidationSet
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from pyserini_tasb.training.assembly import assemble_teacher
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.config import TeachCatConfig, TeachColBertConfig
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.step import Stepper
from pyserini_tasb.training.teach import teach
from tests.command_line import tasb_argv, tasb_process, tasb_processes
from tests.training.teach.conftest import DIMENSION


def records(run, kind):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == kind]


def scored(model, validation, **lengths):
    """Every candidate's score, by the scorer that others use."""
    scorer = load_scorer(str(model), ScoringOptions("cpu", **lengths))
    query_of = np.repeat(np.arange(len(validation.queries)), np.diff(validation.offsets))
    return scorer.score_pairs(validation.queries, validation.passages, query_of, validation.candidates.astype(np.int64))


@pytest.mark.parametrize(("kind", "architecture"), [("cat", "BERT_Cat"), ("colbert", "ColBERT")])
def test_it_ends_with_a_folder_that_says_what_it_is(request, kind, architecture):
    folder = request.getfixturevalue(kind) / "model"
    files = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "curves.png"} <= files
    assert json.loads((folder / "config.json").read_text())["architectures"] == [architecture]
    card = (folder / "README.md").read_text()
    assert "tasb rerank --run" in card
    assert "before training" in card


@pytest.mark.parametrize(("kind", "max_length"), [("cat", 512), ("colbert", 460)])
def test_its_evaluation_is_that_of_the_scorer(teaching, training_set, tmp_path, kind, max_length):
    """Nothing is cut here: training cuts each side, cross-encoders' tokenizers both together."""
    caps = {"query_max_length": 50, "passage_max_length": 460}
    teach(teaching(tmp_path, teacher=caps, max_steps=2, validation={"every": 2}), kind=kind)
    validation = ValidationSet(training_set.validation)
    best = max(record["value"] for record in records(tmp_path / "run", "evaluation"))
    scores = scored(tmp_path / "run" / "model", validation, query_max_length=50, max_length=max_length)
    assert validation.measure(scores) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(("kind", "config_class"), [("cat", TeachCatConfig), ("colbert", TeachColBertConfig)])
def test_a_batch_can_be_learned_by_heart(teaching, tmp_path, kind, config_class):
    teacher = {"dropout": 0.0, "attention_dropout": 0.0}
    config = teaching(tmp_path, teacher=teacher, optimiser={"learning_rate": 3e-3}, device="cpu")
    parts = assemble_teacher(load_recipe(config, config_class), Processes())
    (batch,) = training_batches(parts.store, parts.sampler, parts.tokenising, start=0, stop=1, workers=0, ahead=1)
    stepper = Stepper(parts, parts.measured_margins())
    losses = [stepper.run(step, [batch]).loss for step in range(60)]
    if kind == "cat":
        assert losses[0] == pytest.approx(np.log(2), abs=0.1)  # a random head tells nothing apart
    assert losses[-1] < losses[0] / 10
    with torch.inference_mode():
        pairs = zip([*batch.query_tokens, *batch.query_tokens], batch.passage_tokens, strict=True)
        positives, negatives = parts.student.outputs(list(pairs)).chunk(2)
    # The teacher's margins here are nearly all positive, as labels are.
    learned = torch.ones(len(positives)) if kind == "cat" else torch.from_numpy(batch.margins)
    assert torch.equal((positives - negatives) > 0, learned > 0)


def test_the_gradient_cache_teaches_the_same(teaching, tmp_path):
    models = {}
    for cached in (False, True):
        folder = tmp_path / str(cached)
        folder.mkdir()
        config = teaching(folder, gradient_cache=cached, tokens_per_forward=80, max_steps=3)
        teach(config, kind="cat")
        models[cached] = load_file(folder / "run" / "model" / "model.safetensors")
    for name, weights in models[False].items():
        if not name.endswith("k_lin.bias"):
            torch.testing.assert_close(models[True][name], weights, atol=1e-5, rtol=1e-4, msg=name)


def test_killed_and_resumed_is_the_same_model(teaching, tmp_path):
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    for folder in folders.values():
        folder.mkdir()
    # Dropout on: the tiny model's own.
    configs = {name: teaching(folder, max_steps=30) for name, folder in folders.items()}
    tasb_process("teach", "--kind", "cat", configs["whole"])
    log = folders["killed"] / "run" / "metrics.jsonl"
    command = tasb_argv("teach", "--kind", "cat", configs["killed"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not log.exists() or log.read_text().count('"kind": "step"') < 8:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    tasb_process("teach", "--kind", "cat", configs["killed"])
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        whole, killed = ((folder / "run" / "model" / name).read_bytes() for folder in folders.values())
        assert killed == whole, name


def test_two_processes_teach_as_one(teaching, tmp_path):
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        teacher = {"dimension": DIMENSION, "dropout": 0.0, "attention_dropout": 0.0}
        config = teaching(folder, teacher=teacher, batch_size=5)
        tasb_processes(processes, "teach", "--kind", "colbert", config, "--set", "device=cpu")
        run = folder / "run"
        losses[processes] = [record["loss"] for record in records(run, "step")]
        losses[processes] += [record["value"] for record in records(run, "evaluation")]
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)


def test_a_scale_that_was_asked_for_is_never_strange(teaching, tmp_path):
    warned = {}
    for deviation in (450, None):  # BERT_CAT's is 5.4
        folder = tmp_path / str(deviation)
        folder.mkdir()
        config = teaching(folder, rescale=deviation and {"deviation": deviation})
        assembly = assemble_teacher(load_recipe(config, TeachColBertConfig), Processes())
        assembly.store.manifest["margins"]["deviation"] = 450
        warned[deviation] = assembly.measured_margins().warning
    assert warned[450] is None
    assert "large" in warned[None]


@pytest.mark.parametrize(("kind", "config_class"), [("cat", TeachCatConfig), ("colbert", TeachColBertConfig)])
def test_a_strange_scale_is_of_interest_to_a_loss_that_learns_margins_and_the_key_advised_exists(
    teaching, tmp_path, kind, config_class
):
    assembly = assemble_teacher(load_recipe(teaching(tmp_path), config_class), Processes())
    assembly.store.manifest["margins"]["deviation"] = 450
    warning = assembly.measured_margins().warning
    if kind == "cat":  # RankNet
        assert warning is None
        return
    key = re.search(r"Rescale them with the key `(.+)`", warning)[1]
    assert load_recipe(teaching(tmp_path), config_class, [f"{key}.deviation=5"]).rescale.deviation == 5


def test_what_it_cannot_start_from(teaching, cat, tmp_path):
    with pytest.raises(TasbError, match="a ColBERT to continue with"):
        teach(teaching(tmp_path, teacher={"model": str(cat / "model")}), kind="colbert")


@pytest.mark.parametrize("other", [{"dimension": DIMENSION + 1}, {"query_masks": 2}])
def test_a_colbert_keeps_its_head(teaching, colbert, tmp_path, other):
    with pytest.raises(TasbError, match=rf"teacher\.{next(iter(other))}: {next(iter(other.values()))}"):
        teach(teaching(tmp_path, teacher={"model": str(colbert / "model")} | other), kind="colbert")
    same = {"model": str(colbert / "model"), "dimension": DIMENSION}
    teach(teaching(tmp_path, teacher=same, max_steps=1), kind="colbert")


def test_a_teacher_can_be_taught_further(teaching, cat, tmp_path):
    teach(teaching(tmp_path, teacher={"model": str(cat / "model")}, max_steps=1), kind="cat")
    first = records(tmp_path / "run", "evaluation")[0]["value"]
    assert first == pytest.approx(max(record["value"] for record in records(cat, "evaluation")))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rescale.deviation=5"], "rescale is for the margins of loss margin-mse"),
        (["teacher.dimension=4"], "dimension"),  # only a ColBERT has one
        (["sampling.strategy=tas"], "sampling"),
    ],
)
def test_a_wrong_configuration(teaching, tmp_path, overrides, message):
    with pytest.raises(TasbError, match=message):
        teach(teaching(tmp_path), kind="cat", settings=overrides)
