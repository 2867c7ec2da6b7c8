"""The one style of all plots: colours, panels, and SVG for pages that may be light or dark."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from pyserini_tasb.fusion.weight_curves import Curve


# Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


# --------
# Curves of a measure against weights, drawn.

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


# --------
# Matplotlib's figures as SVG for a page that may be light or dark.

# The page's style sheet has the variables.
VARIABLES = {colour: f"--series-{number}" for number, colour in enumerate(COLOURS, 1)} | {
    "#000000": "--ink",
    "#262626": "--ink",
    "#777777": "--muted",
    "#e4e4e4": "--grid",
}


@contextlib.contextmanager
def drawing(salt: str) -> Iterator[None]:
    """Figures that are made and written in this block have text that can be read out, and nothing of a text is maths.

    Args:
        salt: of the ids in the SVG, which have to differ between the figures of a page.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False}):
        yield


def themed_svg(figure: Figure) -> str:
    """An `svg` element, without a background, whose colours are variables of the page; within `drawing`.

    Args:
        figure: made within `drawing`.
    """
    drawn = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    svg = drawn.getvalue()
    svg = re.sub(
        r'^.*?<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, flags=re.DOTALL
    )
    # A style element would be the whole page's; groups are numbered alike in every figure, and nothing refers to them.
    svg = re.sub(r"<(style|metadata)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r'style="[^"]*"', _with_variables, svg)


def _with_variables(style: re.Match[str]) -> str:
    return re.sub(
        r"#[0-9a-f]{6}",
        lambda colour: f"var({VARIABLES[colour[0]]})" if colour[0] in VARIABLES else colour[0],
        style[0],
    )
