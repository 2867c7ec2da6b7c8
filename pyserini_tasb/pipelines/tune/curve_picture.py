"""Curves of a measure against weights, drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.palette import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from pyserini_tasb.pipelines.tune.curve import Curve

TUNED, TESTED = COLOURS[:2]
CHOSEN, FOLDS = "#000000", "#999999"


def drawn(curves: Sequence[Curve], measure: str, title: str) -> bytes:
    """A PNG with a panel for each curve."""
    figure, panels = figure_of_panels(len(curves))
    for panel, curve in zip(panels, curves, strict=True):
        _draw(panel, curve)
        finish(panel, f"weight of {', '.join(Path(name).name for name in curve.runs)}")
    panels[0].set_ylabel(measure)
    figure.suptitle(title, fontsize=11)
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=4
    )
    return as_png(figure)


def figure_of_panels(count: int, *, same_measure: bool = True) -> tuple[Figure, Any]:
    """An empty figure with so many panels side by side; of the same measure, they share their height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(3.1 + 4.4 * count, 4.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, sharey=same_measure, squeeze=False)[0]


def finish(panel: Any, weight: str) -> None:
    """Label the weights' axis, and set the style of all of them."""
    panel.set_xlabel(weight)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.3f}".removeprefix("0"))
    panel.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)


def as_png(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw(panel: Any, curve: Curve) -> None:
    panel.plot(curve.weights, curve.tuned, color=TUNED, linewidth=1.7, label="queries tuned on")
    if curve.tested is not None:
        panel.plot(curve.weights, curve.tested, color=TESTED, linewidth=1.7, linestyle="--", label="other queries")
    panel.axvline(curve.chosen, color=CHOSEN, linewidth=1, label="chosen")
    panel.set_title(f"chosen: {curve.chosen:g}", fontsize=10)
    for number, weight in enumerate(curve.fold_choices):
        label = "chosen without a fold" if number == 0 else None
        panel.axvline(weight, color=FOLDS, linewidth=1, linestyle=":", zorder=1, label=label)
