"""The measure against alpha, as a table and as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Okabe and Ito's, which colour-blind readers can tell apart.
TUNED, TESTED, CHOSEN, FOLDS = "#0072b2", "#d55e00", "#000000", "#999999"


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured.

    Attributes:
        measure: its name.
        alphas: weights of the second run, shape (alphas,).
        tuned: the mean over the queries tuned on, shape (alphas,); `tested` likewise over others, if there are such.
        alpha: the one chosen.
        fold_alphas: those chosen without each fold of a cross-validation.
        title: of the picture.
    """

    measure: str
    alphas: NDArray[np.float64]
    tuned: NDArray[np.float64]
    tested: NDArray[np.float64] | None
    alpha: float
    fold_alphas: tuple[float, ...]
    title: str


def write_curve(curve: Curve, table: Path, picture: Path) -> None:
    """Write both.

    Args:
        curve: what to write.
        table: the CSV.
        picture: the PNG.

    Raises:
        TasbError: the disk refuses.
    """
    header = ["alpha", f"{curve.measure} tuned on"] + (
        [f"{curve.measure} tested on"] if curve.tested is not None else []
    )
    columns = [curve.alphas, curve.tuned] + ([curve.tested] if curve.tested is not None else [])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    write_whole(table, "".join(",".join(map(str, row)) + "\n" for row in [header, *rows]))
    write_whole(picture, _drawn(curve))


def _drawn(curve: Curve) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(7.5, 4.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    panel: Any = figure.subplots()
    panel.plot(curve.alphas, curve.tuned, color=TUNED, linewidth=1.7, label="queries tuned on")
    if curve.tested is not None:
        panel.plot(curve.alphas, curve.tested, color=TESTED, linewidth=1.7, linestyle="--", label="other queries")
    panel.axvline(curve.alpha, color=CHOSEN, linewidth=1, label=f"chosen, alpha = {curve.alpha:g}")
    for number, alpha in enumerate(curve.fold_alphas):
        label = "chosen without a fold" if number == 0 else None
        panel.axvline(alpha, color=FOLDS, linewidth=1, linestyle=":", zorder=1, label=label)
    panel.set_xlabel("alpha, the weight of the second run")
    panel.set_ylabel(curve.measure)
    panel.set_title(curve.title, fontsize=11)
    panel.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=4)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()
