from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from pyserini_tasb.evaluation.recall import recall_figure
from pyserini_tasb.plots import COLOURS, as_png

CURVES = {
    "shallow": np.linspace(0.1, 0.3, 100),
    "a run with a name as long as the path of a file usually is.txt": np.linspace(0.05, 0.7, 1_000),
    "deep": np.linspace(0.1, 0.6, 1_000),
}


def test_what_is_drawn():
    figure = recall_figure(CURVES, "dl20-passage", 2)
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("cutoff", "recall (rel=2)")
    assert [label.get_text() for label in panel.get_xticklabels()][-3:] == ["200", "500", "1,000"]
    lines = {line.get_label(): line for line in panel.get_lines() if not line.get_label().startswith("_")}
    for number, (name, curve) in enumerate(CURVES.items()):
        assert lines[name].get_xdata() == pytest.approx(range(1, len(curve) + 1))
        assert lines[name].get_ydata() == pytest.approx(curve)
        assert lines[name].get_color() == COLOURS[number]
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in lines.values()}) == 3
    # The legend follows the ends of the lines, from above, and covers none.
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [list(CURVES)[1], "deep", "shallow"]
    figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(panel.get_window_extent())
    assert legend.get_window_extent().width < figure.bbox.width


def test_axis_ends_with_the_deepest_run():
    panel = recall_figure({"one": CURVES["shallow"]}, "q", 1).axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "5", "10", "20", "50", "100"]
    assert 100 < panel.get_xlim()[1] < 110
    assert recall_figure({"one": np.array([0.5])}, "q", 1).axes[0].get_xlim() == (1, 2)


def test_same_curves_same_bytes():
    one, two = (as_png(recall_figure(CURVES, "dl20-passage", 2)) for _ in range(2))
    assert one == two
    assert imread(io.BytesIO(one)).shape[1] == 7 * 140
