"""Processes that train together agree before they begin, and end together: one message, no orphan, nothing lost."""

from __future__ import annotations

import json
import os
import random
import re
import runpy
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pyserini_tasb.artifacts import locked_folder
from pyserini_tasb.errors import FailedError, Interruption, TasbError
from pyserini_tasb.training import distributed
from pyserini_tasb.training.distributed import Processes
from tests.clock import time_passes_in_sleep
from tests.command_line import TASB, torchrun_words
from tests.processes import marked, run_module

EXAMPLES = Path(__file__).parents[2] / "examples" / "training"
RUN = {
    "student": {"dropout": 0.1, "attention_dropout": 0.1, "passage_max_length": 40},
    "device": "cpu",
    "max_steps": 16,
    "workers": 1,
    "validation": {"every": 10, "patience": 9},
    "checkpoint": {"every": 4, "keep": 1},
}


@pytest.fixture(scope="module")
def configuration(training_set):
    def write(folder, **sections):
        student = {"model": str(training_set.model), **RUN["student"]}
        data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
        return training_set.config(folder, **RUN | {"student": student, "data": data} | sections)

    return write


def free_port(least=1_024, most=65_535):
    while True:
        port = random.randint(least, most)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


# What SLURM has on its nodes: both nodes are this machine.
SLURM = {
    "scontrol": "echo 127.0.0.1; sleep 0.2; echo node2",  # a reader that has gone by then ends it with SIGPIPE
    "srun": '"$@" & first=$!; "$@" & second=$!; wait $first; wait $second',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}


@pytest.fixture(scope="module")
def on_two_nodes(configuration, tmp_path_factory):
    """The folder of a run by examples/training/slurm.sh: two launchers, a process of each."""
    folder = tmp_path_factory.mktemp("two-nodes")
    commands = folder / "bin"
    commands.mkdir()
    for name, script in SLURM.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\nset -e\n{script}\n")
        (commands / name).chmod(0o755)
    job = free_port(20_000, 29_999) - 20_000  # the script makes a port of it
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": str(job),
        "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "1", "PROCESSES": "1", "PET_LOCAL_ADDR": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", str(EXAMPLES / "slurm.sh"), "train", str(configuration(folder))],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("16 steps") == 1  # one process speaks for all
    return folder / "run"


def measured(run):
    """The log without times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line.partition(', "pairs_per_second"')[0].partition(', "seconds"')[0] for line in lines]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def ranks(process):
    """rank → process id."""
    found = {}
    for pid in process.living():
        status = Path(f"/proc/{pid}/status").read_text()
        if int(re.search(r"PPid:\s+(\d+)", status)[1]) == process.popen.pid:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {int(each[5:]): pid for each in environment if each.startswith(b"RANK=")}
    return found


def steps_logged(run):
    path = run / "metrics.jsonl"
    return path.read_text().count('"kind": "step"') if path.exists() else 0


def by_torchrun(config, *options):
    """The words of two processes on one node."""
    words = torchrun_words(2, *TASB, "train", config, options=("--standalone", *options))
    return [sys.executable, "-m", *words]


def test_a_killed_process_is_started_again(configuration, on_two_nodes, tmp_path):
    """The bits are those of a run that never stopped."""
    config, run = configuration(tmp_path), tmp_path / "run"
    with marked(by_torchrun(config, "--max-restarts", 1)) as process:
        process.wait_until(lambda: steps_logged(run) >= 6)
        os.kill(ranks(process)[random.randrange(2)], signal.SIGKILL)
        out, err = process.popen.communicate(timeout=120)
        assert process.orphans() == []
    assert err.count("tasb train: another process of this training ended") == 1
    assert "pyserini_tasb/training" not in err  # of no traceback of ours
    assert "continuing after step" in err
    assert "→" not in err  # of versions, threads, processes
    assert "16 steps" in out
    assert weights(run) == weights(on_two_nodes)
    assert measured(run) == measured(on_two_nodes)


def test_a_signal_to_all_processes_saves_the_last_step(configuration, on_two_nodes, tmp_path):
    """SLURM sends it to torchrun, too, which passes it on: each process gets it twice."""
    config, run = configuration(tmp_path), tmp_path / "run"
    with marked(by_torchrun(config)) as process:
        process.wait_until(lambda: steps_logged(run) >= 5)
        for pid in [*ranks(process).values(), process.popen.pid]:
            os.kill(pid, signal.SIGTERM)
        out = process.popen.communicate(timeout=120)[0]
        assert process.orphans() == []
    step = steps_logged(run)
    assert f"stopped after step {step}, which is saved; the same torchrun command continues\n" in out
    assert (run / "checkpoints" / f"step-{step:08d}").is_dir()
    assert measured(run) == measured(on_two_nodes)[: len(measured(run))]


def two_launchers(programs, folders):
    """Run two launchers; return the text that each printed to stderr, and their exit status."""
    where = ("--nnodes", 2, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *torchrun_words(1, *program, options=where)],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for program, folder in zip(programs, folders, strict=True)
    ]  # fmt: skip
    said = [process.communicate(timeout=180)[1] for process in processes]
    return said, [process.returncode for process in processes]


def test_nodes_with_different_configurations(configuration, tmp_path):
    config = configuration(tmp_path)
    programs = [(*TASB, "train", config), (*TASB, "train", config, "--set", "seed=5")]
    said, status = two_launchers(programs, [tmp_path, tmp_path])
    assert status == [1, 1]
    assert "".join(said).count("`seed`: ") == 1
    assert re.search(r"found: +`seed`: (5|208973249) in process 0 on \S+, (5|208973249) in process 1 on", "".join(said))
    assert not list(tmp_path.glob("run/*"))


SCRIPT = """
    import sys
    from pyserini_tasb.cli.main import main
    from pyserini_tasb.training import distributed

    distributed.SECONDS_TO_APPEAR = 0.5
    sys.exit(main())
"""


def test_nodes_with_an_output_of_their_own(configuration, tmp_path):
    config = configuration(tmp_path, output="run")
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    folders = [tmp_path / "node1", tmp_path / "node2"]
    for folder in folders:
        folder.mkdir()
    said, status = two_launchers([(tmp_path / "script.py", "train", config)] * 2, folders)
    assert status == [1, 1]
    assert "".join(said).count("process 1 on ") == 1
    assert "expected: an `output` that all processes share" in "".join(said)
    assert not list(tmp_path.glob("node*/run/*"))


TWICE = """
    import os
    import pyserini_tasb as tasb

    def say(*words):  # in one piece: another process writes to the same pipe
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    teacher = tasb.teach("teach.yaml", kind="cat")
    model = tasb.train("config.yaml")
    say(teacher.first, model.card is not None, model.steps)
    again = tasb.train("config.yaml")
    say(again.first, again.steps, again.ended_by)
"""


def test_a_script_that_trains_more_than_once(configuration, training_set, tmp_path, monkeypatch):
    """The losses are those of one process: a BERT_CAT, then a student with parts of a batch in memory."""
    model = {"model": str(training_set.model), "passage_max_length": 40, "dropout": 0.0, "attention_dropout": 0.0}
    teach = {
        "name": "cat", "output": "cat", "teacher": model, "data": {"pairs": str(training_set.pairs)}, "device": "cpu",
        "precision": "fp32", "batch_size": 5, "max_steps": 3, "log_every": 1, "workers": 0,
        "schedule": {"warmup_steps": 1},
    }  # fmt: skip
    student = {"name": "student", "gradient_cache": True, "tokens_per_forward": 100, "workers": 0, "max_steps": 3}
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYSERINI_TASB_HOME", str(folder / "home"))
        (folder / "script.py").write_text(textwrap.dedent(TWICE))
        (folder / "teach.yaml").write_text(json.dumps(teach))
        configuration(folder, student=model, output="run", **student)
        if processes == 1:
            runpy.run_path("script.py")
        else:
            said = run_module(*torchrun_words(2, "script.py")).stdout
            assert sorted(said.splitlines()) == [
                "False 3 max_steps",
                "False False 3",
                "True 3 max_steps",
                "True True 3",
            ]
        lines = [json.loads(line) for name in ("cat", "run") for line in (folder / name / "metrics.jsonl").open()]
        losses[processes] = [line["loss"] for line in lines if "loss" in line]
    assert len(losses[1]) == 6
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)


class Told(Processes):
    """A process that hears prepared texts of others."""

    others: tuple[str, ...] = ()

    def texts(self, own: str) -> list[str]:
        return [own, *self.others]


def told(*others: object) -> Told:
    processes = Told(0, 1 + len(others))
    object.__setattr__(processes, "others", tuple(json.dumps(other) for other in others))
    return processes


def test_what_differs_is_named_with_the_processes_that_have_it():
    long = "x" * 1_000
    processes = told(
        ["b", {"a": '"1"', "long": json.dumps(long + "1"), "same": "7"}],
        *[["c", {"a": '"2"', "long": json.dumps(long + "2"), "same": "7"}]] * 4,
    )
    with pytest.raises(TasbError) as raised:
        processes.require_same({"a": "1", "long": long + "1", "same": 7}, expected="the same", do="do")
    assert raised.value.expected == "the same in all 6 processes"
    found = raised.value.found
    assert found.startswith("a: '1' in processes 0, 1 on ")
    assert ", b, '2' in processes 2, 3, 4, … (4 in all) on c; long: 'xxx" in found
    assert "same" not in found


def test_an_output_is_shared_if_its_lock_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "SECONDS_TO_APPEAR", 0.2)
    with locked_folder(tmp_path / "run"):
        holder = (tmp_path / "run" / ".lock").read_text()
        told(["b", True]).require_shared(tmp_path / "run")
        with pytest.raises(TasbError, match="process 1 on b cannot see what process 0 on"):
            told(["b", False]).require_shared(tmp_path / "run")
        for content, seen in {holder: True, "": True, "process 1 on another\n": False}.items():
            (tmp_path / "here").mkdir(exist_ok=True)
            (tmp_path / "here" / ".lock").write_text(content)
            assert distributed._is_the_lock(tmp_path / "here" / ".lock", holder) is seen
        assert not distributed._is_the_lock(tmp_path / "nowhere" / ".lock", holder)


def test_processes_on_gpus_and_on_cpus(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes = told(["b", {"device": '"a GPU"'}])
    with pytest.raises(TasbError, match=r"'the CPU' in process 0 on \S+, 'a GPU' in process 1 on b"):
        processes.on("cpu")


def test_gpus_get_a_group_of_their_own(monkeypatch):
    """The other messages stay with Gloo, on CPUs."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    groups = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", groups.append)
    monkeypatch.setattr(dist, "new_group", lambda **options: options)
    on = told(["b", {"device": '"a GPU"'}]).on("auto")
    assert groups == [torch.device("cuda", 1)]
    assert on.of_tensors == {"backend": "nccl", "device_id": torch.device("cuda", 1)}


def test_processes_that_never_come(monkeypatch):
    store = dist.HashStore()
    store.set("answer of 3", "another-call name")  # of a process that torchrun has ended since

    def process_2_answers():
        store.set("answer of 2", f"{store.get('call').decode()} its-name")

    time_passes_in_sleep(monkeypatch, distributed, process_2_answers)
    with pytest.raises(TasbError, match="none of the ranks 1, 3"):
        distributed._called_together(store, 4)
    with pytest.raises(TasbError, match="only silence, for 1,200 seconds"):
        distributed._answering(store, 2)


def test_processes_that_are_started_again_meet_only_each_other():
    """The store has the words of earlier ones, and a late one of them goes on speaking."""
    store = dist.HashStore()
    stores = []
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            others = [pool.submit(distributed._answering, store, rank) for rank in (1, 2)]
            time.sleep(0.2)  # they have answered the earlier call
            stores.append([distributed._called_together(store, 3), *(other.result() for other in others)])
    for number, together in enumerate(stores):
        together[0].set("number", str(number))
        assert [each.get("number") for each in together] == [str(number).encode()] * 3
    assert stores[0][1].get("number") == b"0"


def test_the_same_mistake_is_told_once():
    store = dist.HashStore()
    errors = [TasbError(expected="one", found=found, do="this") for found in ("a", "a", "b")]
    for error in errors:
        distributed._tell(store, error)
    assert [error.told_elsewhere for error in errors] == [False, True, False]


def test_of_processes_that_lost_another_one_says_so():
    store = dist.HashStore()
    assert [distributed._was_told(store) for _ in range(3)] == [False, True, True]
    store = dist.HashStore()
    distributed._tell(store, KeyboardInterrupt())  # which that process tells
    assert distributed._was_told(store)


GLOO = "[/gloo/pair.cc:537] Read error [127.0.0.1]:4: Connection reset by peer. This is typically caused by a remote"


def lost_and_then(signal_number):
    try:
        with distributed._answered():
            raise RuntimeError(GLOO)
    finally:
        raise Interruption(signal_number)


def test_a_signal_after_the_loss_of_a_process_hides_nothing():
    with pytest.raises(Interruption) as raised:
        lost_and_then(signal.SIGTERM)
    lost = distributed._loss_before(raised.value)
    assert isinstance(lost, FailedError)
    assert "(Read error [127.0.0.1]:4: Connection reset by peer)" in str(lost)
    assert distributed._loss_before(ValueError()) is None
