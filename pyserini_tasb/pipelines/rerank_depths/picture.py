"""Curves of depths as a picture: a panel for each first stage, a line for each re-ranker."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pyserini_tasb.palette import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from pyserini_tasb.pipelines.rerank_depths.depth_curve import DepthCurve

# Beside the colours, for prints in grey.
MARKERS = ("o", "s", "^", "D", "v", "P")
BEFORE = "#777777"


def draw(curves: Sequence[DepthCurve], measure: str, qrels: str) -> bytes:
    """A PNG of `figure_of`."""
    drawn = io.BytesIO()
    figure_of(curves, measure, qrels).savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def figure_of(curves: Sequence[DepthCurve], measure: str, qrels: str) -> Figure:
    """Depths on a logarithmic axis, the same scale of values for all first stages.

    Args:
        curves: of one measure.
        measure: its name.
        qrels: what they are called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(curve.first_stage for curve in curves))
    rerankers = list(dict.fromkeys(curve.reranker for curve in curves))
    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(1.4 + 3.8 * len(stages), 4.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        of_stage = [curve for curve in curves if curve.first_stage == stage]
        for curve in of_stage:
            number = rerankers.index(curve.reranker)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            panel.plot(*zip(*curve.values.items(), strict=True), label=curve.reranker, linewidth=1.8, **style)
        panel.axhline(of_stage[0].before, color=BEFORE, linewidth=1.2, linestyle="--", label="first stage alone")
        _finish(panel, stage, sorted({depth for curve in of_stage for depth in curve.values}))
    panels[0].set_ylabel(measure)
    figure.suptitle(f"Depth of re-ranking, {qrels}", fontsize=11)
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), frameon=False, fontsize=9, loc="outside lower center", ncols=5)
    return figure


def _finish(panel: Any, title: str, depths: Sequence[int]) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xscale("log")
    panel.set_xticks(depths, [f"{depth:,}" for depth in depths])
    panel.minorticks_off()
    panel.set_xlabel("passages re-ranked")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}".removeprefix("0"))
    panel.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
