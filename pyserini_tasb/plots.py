"""The one style of all plots: colours, figures, panels, PNG, and SVG for pages that may be light or dark."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure


# Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, MUTED, GRID = "#000000", "#777777", "#e4e4e4"
DOTS_PER_INCH = 140


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_panels(count: int, *, same_measure: bool = True) -> tuple[Figure, Any]:
    """An empty figure with so many panels side by side; if they show one measure, they share its axis."""
    figure = new_figure(3.1 + 4.4 * count, 4.4)
    return figure, figure.subplots(1, count, sharey=same_measure, squeeze=False)[0]


def style(panel: Any, *, decimals: int | None = 3, grid: Literal["both", "x", "y"] = "both") -> None:
    """Give a panel its grid and its axes.

    Args:
        panel: axes of matplotlib.
        decimals: the number of decimals beside the vertical axis, which lack the 0 before the dot; None does not change
            them.
        grid: the axis whose values have lines.
    """
    if decimals is not None:
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.{decimals}f}".removeprefix("0"))
    panel.grid(visible=True, axis=grid, color=GRID, linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG: the same bytes for the same figure."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


# The style sheet of the page has these variables.
VARIABLES = {colour: f"--series-{number}" for number, colour in enumerate(COLOURS, 1)} | {
    INK: "--ink",
    "#262626": "--ink",
    MUTED: "--muted",
    GRID: "--grid",
}


@contextlib.contextmanager
def drawing(salt: str) -> Iterator[None]:
    """A block in which figures that are made and written have text that can be read out, none of it maths.

    Args:
        salt: makes the ids in the SVG, which have to differ between the figures of a page.
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
