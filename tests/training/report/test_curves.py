from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pyserini_tasb import TasbError
from pyserini_tasb.training.curves import COLOURS, POINTS, _downsampled, _smoothed, draw_curves
from pyserini_tasb.training.journal import MetricsLog

BEST = COLOURS["best"]


def log_of(path, steps, *, evaluate_every=0, losses=("loss", "pairwise", "in_batch")):
    with MetricsLog(path) as log:
        for step in steps:
            log.append("step", step, {name: (1 + place) * (1 + 5 / step) for place, name in enumerate(losses)})
            if evaluate_every and step % evaluate_every == 0:
                log.append("evaluation", step, {"measure": "nDCG@10", "value": 0.4 - (step - 60) ** 2 / 1e5})
    return path


def drawn(log, tmp_path, **options):
    draw_curves(log, tmp_path / "curves.png", **options)
    return image.imread(tmp_path / "curves.png")[..., :3]


def pixels(picture, colour):
    """How many pixels have exactly this colour."""
    return int((np.abs(picture - np.array(to_rgb(colour), np.float32)).max(axis=2) < 0.01).sum())


def test_losses_and_evaluations(tmp_path):
    log = log_of(tmp_path / "log", range(1, 101), evaluate_every=10)
    picture = drawn(log, tmp_path, best_step=60, baseline=0.39, title="mine")
    assert picture.shape[0] > 900
    for name in ("loss", "pairwise", "in_batch", "evaluation"):
        assert pixels(picture, COLOURS[name]) > 300, name
    assert pixels(picture, BEST) > 50
    # below, a reddish line goes up from step 60
    below = picture[picture.shape[0] // 2 :]
    reddish = (below[..., 0] > 0.75) & (below[..., 1] < 0.85) & (below[..., 2] < 0.85)
    column = reddish.sum(axis=0).argmax()
    assert reddish[:, column].sum() > 0.7 * len(below)
    assert 0.58 < column / picture.shape[1] < 0.64


def test_no_panel_for_evaluations_that_were_not(tmp_path):
    with_them = drawn(log_of(tmp_path / "a", range(1, 101), evaluate_every=10), tmp_path)
    without = drawn(log_of(tmp_path / "b", range(1, 101)), tmp_path)
    assert without.shape[0] < 0.6 * with_them.shape[0]
    assert pixels(without, COLOURS["loss"]) > 300
    assert pixels(without, COLOURS["evaluation"]) == 0


def test_a_loss_that_there_was_not_is_not_drawn(tmp_path):
    picture = drawn(log_of(tmp_path / "log", range(1, 101), losses=("loss", "pairwise")), tmp_path)
    assert pixels(picture, COLOURS["pairwise"]) > 300
    assert pixels(picture, COLOURS["in_batch"]) == 0


@pytest.mark.parametrize("steps", [range(1, 2), range(7, 9), range(1, 11)])
def test_very_short_runs(tmp_path, steps):
    assert pixels(drawn(log_of(tmp_path / "log", steps), tmp_path), COLOURS["loss"]) > 20


def test_long_runs(tmp_path):
    log = log_of(tmp_path / "log", range(1, 30_001))
    assert pixels(drawn(log, tmp_path), COLOURS["loss"]) > 300
    at, means = _downsampled(np.arange(800_000.0), np.arange(800_000.0) * 2)
    assert len(at) == POINTS
    assert np.allclose(means, 2 * at)
    assert means.mean() == pytest.approx(799_999)


def test_smoothing_keeps_a_straight_line_straight():
    line = np.linspace(5, 1, 400)
    assert np.allclose(_smoothed(line), line)
    noisy = line + np.random.default_rng(1).normal(size=400)
    assert np.abs(_smoothed(noisy) - line)[20:-20].max() < np.abs(noisy - line).max() / 2


def test_numbers_that_were_not_finite_leave_gaps(tmp_path):
    with MetricsLog(tmp_path / "log") as log:
        for step in range(1, 101):
            log.append("step", step, {"loss": math.nan if step % 7 == 0 else 100.0 / step, "pairwise": math.nan})
            if step % 25 == 0:
                log.append("evaluation", step, {"measure": "nDCG@10", "value": math.nan if step == 25 else 0.3})
    picture = drawn(tmp_path / "log", tmp_path)
    assert pixels(picture, COLOURS["loss"]) > 300
    assert pixels(picture, COLOURS["pairwise"]) == 0
    assert pixels(picture, COLOURS["evaluation"]) > 100


def test_same_log_same_bytes(tmp_path):
    log = log_of(tmp_path / "log", range(1, 51), evaluate_every=10)
    pictures = []
    for name in ("a.png", "b.png"):
        draw_curves(log, tmp_path / name, best_step=50)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    assert {path.name for path in tmp_path.iterdir()} == {"log", "a.png", "b.png"}


def test_nothing_to_draw(tmp_path):
    MetricsLog(tmp_path / "log").close()
    with pytest.raises(TasbError, match="at least one record of a step"):
        draw_curves(tmp_path / "log", tmp_path / "curves.png")
