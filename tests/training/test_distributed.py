"""Two processes train as one does, and go on as one or three: the same losses, in-batch negatives across all."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from pyserini_tasb import TasbError
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "passage_max_length": 40}
# An odd batch: the processes' shares differ in size.
RUN = {"batch_size": 5, "max_steps": 10, "validation": {"every": 5, "patience": 9}, "checkpoint": {"every": 5}}


@pytest.fixture(scope="module")
def runs(training_set, tmp_path_factory):
    folders = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes-{processes}")
        data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
        config = training_set.config(folder, student={"model": str(training_set.model), **NO_DROPOUT}, data=data, **RUN)
        tasb_processes(processes, "train", config, "--set", "device=cpu")
        folders[processes] = folder / "run"
    return folders


def records(run, kind):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == kind]


@pytest.mark.parametrize("part", ["loss", "pairwise", "in_batch", "gradient_norm"])
def test_the_same_curve(runs, part):
    one, two = ([step[part] for step in records(runs[processes], "step")] for processes in (1, 2))
    assert len(one) == RUN["max_steps"]
    assert two == pytest.approx(one, rel=1e-5)


def test_the_same_evaluations(runs):
    one, two = ([step["value"] for step in records(runs[processes], "evaluation")] for processes in (1, 2))
    assert len(one) == 3
    assert two == pytest.approx(one)


def test_the_same_model(runs):
    one, two = (load_file(runs[processes] / "model" / "model.safetensors") for processes in (1, 2))
    for name, weights in one.items():
        if name.endswith("k_lin.bias"):  # no loss depends on it: Adam follows rounding errors
            continue
        torch.testing.assert_close(two[name], weights, atol=1e-4, rtol=1e-4, msg=name)


FURTHER = 14


@pytest.fixture(scope="module")
def uninterrupted(runs, tmp_path_factory):
    """One process, which never stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSERINI_TASB_HOME", str(folder / "home"))
        settings = [f"max_steps={FURTHER}", f"output={folder / 'run'}", "device=cpu"]
        train(runs[1].parent / "config.yaml", settings=settings)
    return records(folder / "run", "step")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_another_number_of_processes_goes_on(runs, uninterrupted, tmp_path, monkeypatch, before, after):
    run = shutil.copytree(runs[before], tmp_path / "run")
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))  # the card of this name has another model
    settings = ["device=cpu", f"max_steps={FURTHER}", f"output={run}"]
    config = runs[before].parent / "config.yaml"
    done = tasb_processes(after, "train", config, "--set", *settings)
    assert done.stderr.count("continuing after step 10") == 1
    assert f"processes {before} → {after}" in done.stderr
    steps = records(run, "step")
    assert [step["step"] for step in steps] == list(range(1, FURTHER + 1))
    for part in ("loss", "pairwise", "in_batch", "learning_rate"):
        assert [step[part] for step in steps] == pytest.approx([step[part] for step in uninterrupted], rel=1e-5)


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("auto", "2 processes on a machine with 1 GPU\n"),
        ("cuda:0", "`device: cuda:0` for 2 processes"),
    ],
)
@pytest.mark.parametrize("said", [{"LOCAL_WORLD_SIZE": "2"}, {}])  # by torchrun; by another launcher
def test_two_processes_and_one_gpu(device, found, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", **said}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TasbError) as raised:
        Processes(1, 2).on(device)
    assert found in str(raised.value)
