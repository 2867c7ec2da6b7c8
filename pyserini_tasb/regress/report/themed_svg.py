"""Matplotlib's figures as SVG for a page that may be light or dark."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING

from pyserini_tasb.palette import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

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
