from __future__ import annotations

import importlib.util
import math

import pytest

from pyserini_tasb.training.journal import TensorBoard

INSTALLED = importlib.util.find_spec("tensorboard") is not None


def test_append_and_close_work_with_and_without_tensorboard(tmp_path):
    board = TensorBoard(tmp_path / "events")
    board.append(1, {"loss": 0.5, "in_batch": None, "rate": math.nan})
    board.close()
    assert (tmp_path / "events").exists() == INSTALLED


@pytest.mark.skipif(not INSTALLED, reason="tensorboard is not installed")
def test_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoard(tmp_path)
    for step in range(1, 6):
        first.append(step, {"loss": 1 / step, "in_batch": None, "rate": math.nan})
    first.close()
    resumed = TensorBoard(tmp_path, done=3)
    resumed.append(4, {"loss": 0.125})
    resumed.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.125),
    ]  # fmt: skip
