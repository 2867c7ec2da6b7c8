"""Checkpoints: read back exactly, whole or not there, never in the way of the last good one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.checkpoints import STATE, WEIGHTS, Checkpoint, CheckpointFolder

pytestmark = pytest.mark.bare


def checkpoint(step: int) -> Checkpoint:
    torch.manual_seed(step)
    model = {"a.weight": torch.randn(3, 4), "b": torch.randn(2).to(torch.bfloat16)}
    return Checkpoint(
        step, model, {"0.step": torch.tensor(float(step)), "0.exp_avg": torch.randn(12)}, {"seconds": 1.5}
    )


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints", keep=2)


def test_what_is_read_is_what_was_written(folder):
    written = checkpoint(7)
    folder.save(written, best=None)
    read = folder.read(7)
    assert (read.step, read.state) == (7, {"seconds": 1.5})
    for kind in ("model", "optimiser"):
        expected, found = getattr(written, kind), getattr(read, kind)
        assert expected.keys() == found.keys()
        assert all(
            torch.equal(expected[name], found[name]) and expected[name].dtype == found[name].dtype for name in found
        )


def test_the_newest_stay_and_the_best(folder):
    for step in (10, 20, 30, 40):
        folder.save(checkpoint(step), best=10)
    assert folder.steps() == [10, 30, 40]
    assert folder.latest().step == 40
    folder.save(checkpoint(50), best=50)
    assert folder.steps() == [40, 50]


@pytest.mark.parametrize("damage", ["shortened", "changed", "absent"])
def test_a_damaged_checkpoint_is_not_taken(folder, damage, caplog):
    folder.save(checkpoint(1), best=None)
    folder.save(checkpoint(2), best=None)
    path = folder.path(2) / WEIGHTS
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(whole[:-4] if damage == "shortened" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TasbError, match="checksum" if damage != "absent" else "No such file"):
        folder.read(2)
    assert folder.latest().step == 1
    assert "skipping a damaged checkpoint" in caplog.text
    folder.save(checkpoint(2), best=None)
    assert folder.latest().step == 2


def test_a_half_written_one_is_none(folder):
    folder.save(checkpoint(1), best=None)
    unfinished = folder.folder / "step-00000002.part"
    unfinished.mkdir()
    (unfinished / STATE).write_text("{}")
    assert folder.steps() == [1]
    folder.save(checkpoint(2), best=None)
    assert folder.steps() == [1, 2]
    assert not unfinished.exists()


def test_a_full_disk_leaves_the_last_good_one(folder, tmp_path):
    folder.save(checkpoint(1), best=None)
    script = f"""
import resource, torch
from pathlib import Path
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.checkpoints import Checkpoint
from pyserini_tasb.training.checkpoints import CheckpointFolder
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # files end there, as on a full disk
try:
    checkpoint = Checkpoint(2, {{"w": torch.zeros(100_000)}}, {{}}, {{}})
    CheckpointFolder(Path({str(folder.folder)!r}), 2).save(checkpoint, None)
except TasbError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a checkpoint to be written" in done.stdout
    assert "File too large" in done.stdout
    assert f"the last good one is {folder.path(1)}" in done.stdout
    assert "repeat the command" in done.stdout
    assert [path.name for path in folder.folder.iterdir()] == ["step-00000001"]
    assert folder.latest().step == 1
