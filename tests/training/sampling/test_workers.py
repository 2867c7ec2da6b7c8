"""Ends that nobody wishes for: killed workers, a killed trainer, Ctrl-C."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.batches import composed_ahead
from tests.training.sampling.stores import tiny_store
from tests.training.sampling.trainer import composer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny_store(tmp_path_factory.mktemp("pairs"), "scores")


def large_batches(store, ahead):
    return composed_ahead(composer(store), itertools.count(), workers=2, ahead=ahead)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # dead, but nobody has asked for its exit status


def wait_until_gone(pids, seconds=60):
    end = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(is_running, pids))


@pytest.fixture
def trainer(store):
    """A running trainer and its workers' ids; the workers are stuck with batches that it does not take yet."""
    command = [sys.executable, "-m", "tests.training.sampling.trainer", str(store.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        try:
            assert len(pids) == 2
            assert all(map(is_running, pids))
            time.sleep(0.5)
            yield process, pids
        finally:
            process.kill()


@pytest.mark.parametrize("ahead", [2, 64], ids=["waiting", "in the middle of a batch"])
def test_a_killed_worker(store, ahead):
    batches = large_batches(store, ahead)
    assert next(batches).step == 0
    time.sleep(1)
    victim = next(process for process in active_children() if process.name == "batches-1")
    os.kill(victim.pid, signal.SIGKILL)
    start, steps = time.monotonic(), []
    with pytest.raises(TasbError, match=f"process {victim.pid}.* ended with signal SIGKILL") as caught:
        steps.extend(batch.step for batch in batches)
    assert time.monotonic() - start < 30
    # What was finished is still given out, in order; worker 1 composes the odd ones.
    assert len(steps) >= 2
    assert len(steps) % 2 == 0
    assert steps == list(range(1, len(steps) + 1))
    assert caught.value.where == f"step {len(steps) + 1}"
    assert not active_children()


def test_a_killed_trainer_takes_its_workers_with_it(trainer):
    process, pids = trainer
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until_gone(pids)
    assert process.communicate()[1] == ""  # they go without a word


def test_ctrl_c(trainer):
    """It reaches the whole process group; only the training loop answers."""
    process, pids = trainer
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert wait_until_gone(pids)


def test_ctrl_c_while_the_workers_start(store):
    command = [sys.executable, "-X", "importtime", "-m", "tests.training.sampling.trainer", str(store.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        # The last module that is loaded before the first worker is started.
        errors = "".join(iter_until(process.stderr, "multiprocessing.popen_spawn_posix"))
        os.killpg(process.pid, signal.SIGINT)
        errors += process.communicate(timeout=20)[1]
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


def iter_until(lines, text):
    for line in lines:
        yield line
        if text in line:
            return


def test_far_ahead(store):
    """Both sides must not wait for the other to read."""
    batches = large_batches(store, ahead=100_000)
    next(batches)
    time.sleep(1)
    assert [batch.step for batch in itertools.islice(batches, 50)] == list(range(1, 51))
    batches.close()


def test_abandoned_batches_end_their_workers(store):
    batches = large_batches(store, ahead=64)
    next(batches)
    pids = [process.pid for process in active_children()]
    assert len(pids) == 2
    del batches
    assert wait_until_gone(pids)
