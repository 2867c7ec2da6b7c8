"""A run that is killed and goes on ends in the same bits as one that never stopped."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.training.checkpoints import begin, claimed
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.train import train
from tests.command_line import tasb_argv, tasb_process
from tests.processes import marked

STEPS = 60
RUN = {
    "max_steps": STEPS,
    "workers": 1,
    "checkpoint": {"every": 5, "keep": 1},
    "validation": {"every": 10, "patience": 100},
    "student": {"dropout": 0.1, "attention_dropout": 0.1, "passage_max_length": 40},
    "optimiser": {"learning_rate": 1e-3, "name": "adamw", "clip_norm": 1.0},
    "accumulate": 2,
}


@pytest.fixture(scope="module")
def configuration(training_set):
    def write(folder):
        student = {"model": str(training_set.model), **RUN["student"]}
        data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
        return training_set.config(folder, **RUN | {"student": student, "data": data})

    return write


@pytest.fixture(scope="module")
def uninterrupted(configuration, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    tasb_process("train", configuration(folder))
    return folder / "run"


def start(config, *options: str) -> subprocess.Popen[str]:
    command = tasb_argv("train", config, *options)
    # Started in the background, a process ignores SIGINT; a user's does not.
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip


def steps_logged(run) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count('"kind": "step"') if path.exists() else 0


def wait_for_step(process, run, step: int) -> None:
    while steps_logged(run) < step:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.005)


def same_model(run, other) -> bool:
    return all((run / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
               for name in ("model.safetensors", "config.json", "tokenizer.json"))  # fmt: skip


def measured(run) -> list[str]:
    """The log without times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line.partition(', "pairs_per_second"')[0].partition(', "seconds"')[0] for line in lines]


def test_killed_at_random_moments(configuration, uninterrupted, tmp_path):
    config, run = configuration(tmp_path), tmp_path / "run"
    moments = random.Random(time.time_ns())
    for kill in range(3):
        process = start(config)
        wait_for_step(process, run, moments.randrange(1 + 15 * kill, 15 + 15 * kill))
        time.sleep(moments.random() * 0.2)  # inside a step, an evaluation or a checkpoint
        process.kill()
        process.communicate()
    assert not (run / "model").exists()
    done = tasb_process("train", config)
    assert "continuing after step" in done.stderr
    assert same_model(run, uninterrupted)
    assert measured(run) == measured(uninterrupted)


def test_killed_while_the_teachers_vectors_are_made(configuration, uninterrupted, tmp_path):
    config, run = configuration(tmp_path), tmp_path / "run"
    assert len(list(uninterrupted.glob("teacher-vectors/*"))) == 2
    process = start(config)
    while not (made := list(run.glob("teacher-vectors/queries-*/units/000000.json"))):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not (run / "checkpoints").exists()
    written = made[0].stat().st_mtime_ns
    assert "from the start" in tasb_process("train", config).stderr
    assert made[0].stat().st_mtime_ns == written
    assert same_model(run, uninterrupted)
    assert measured(run) == measured(uninterrupted)


@pytest.mark.parametrize("written", ["json.dump", "yaml.safe_dump"])
def test_killed_while_it_begins(configuration, tmp_path, monkeypatch, written):
    config = load_recipe(configuration(tmp_path), TrainConfig)

    def killed(*_arguments: object, **_options: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as context:
        context.setattr(f"pyserini_tasb.training.checkpoints.{written}", killed)
        with pytest.raises((InterruptedError, TasbError)), claimed(config):
            begin(config)
    with claimed(config):
        begin(config)
    assert sorted(path.name for path in config.output.iterdir()) == ["config.yaml", "versions.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_go_on(configuration, uninterrupted, tmp_path, number):
    config, run = configuration(tmp_path), tmp_path / "run"
    with marked(tasb_argv("train", config)) as process:
        process.wait_until(lambda: steps_logged(run) >= 12)
        process.popen.send_signal(number)
        assert process.orphans() == []
        said, errors = process.popen.communicate()
    assert process.popen.returncode == 128 + number
    assert "Traceback" not in errors
    stopped_after = steps_logged(run)
    assert f"stopped after step {stopped_after}, which is saved" in said
    assert f"\n  tasb train {config}\n" in said
    assert (run / "checkpoints" / f"step-{stopped_after:08d}").is_dir()
    tasb_process("train", config)
    assert same_model(run, uninterrupted)


def test_another_run_does_not_go_on_there(configuration, uninterrupted, tmp_path):
    config = configuration(tmp_path)
    (tmp_path / "run").symlink_to(uninterrupted)
    # Before anything is loaded: this model is none.
    nowhere = ("student.model=/nowhere", "loss.alpha=0.5")
    other = tasb_process("train", config, "--set", *nowhere, check=False)
    assert other.returncode == 2
    assert "`loss.alpha`: 0.5, was 0.75" in other.stderr
    (tmp_path / "run").unlink()
    shutil.copytree(uninterrupted / "checkpoints", tmp_path / "run" / "checkpoints")
    unknown = tasb_process("train", config, check=False)
    assert unknown.returncode == 2
    assert "config.yaml beside the checkpoints" in unknown.stderr


def test_a_finished_training_is_not_trained_again(configuration, tmp_path):
    config, run = configuration(tmp_path), tmp_path / "run"
    first = tasb_process("train", config, "--set", "max_steps=3")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = tasb_process("train", config, "--set", "max_steps=3")
    assert again.stdout == first.stdout
    assert again.stderr == f"tasb train: note: {run}: trained before\n"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    more = tasb_process("train", config, "--set", "max_steps=5")
    assert "continuing after step 3" in more.stderr


def test_where_nothing_was_trained_any_configuration_may_begin(configuration, tmp_path):
    """As it is left by a training that failed at its first step."""
    config, run = configuration(tmp_path), tmp_path / "run"
    failed = load_recipe(config, TrainConfig, ["loss.alpha=0.5"])
    with claimed(failed):
        begin(failed)
    assert (run / "config.yaml").exists()
    assert "from the start" in tasb_process("train", config, "--set", "max_steps=2").stderr


def test_fewer_steps_than_are_done_are_refused(training_set, tmp_path):
    config = training_set.config(tmp_path, max_steps=3)
    train(config)
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    with pytest.raises(TasbError, match="`max_steps` of at least 3"):
        train(config, settings=["max_steps=2"])
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before
