"""Loss and validation curves as a picture, from `metrics.jsonl`."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb import plots
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.journal import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


LOSSES = {"loss": "total", "pairwise": "pairwise", "in_batch": "in batch"}
"""Keys of a step's record that are drawn, and what they are called in the picture."""
COLOURS = dict(zip(("loss", "best", "evaluation", "pairwise", "in_batch"), plots.COLOURS, strict=False))
POINTS = 1_200  # about as many as the picture has pixels
SMOOTHED_OVER = 1 / 40  # of the run
# Above this ratio a linear axis shows the first steps and a flat line.
LOGARITHMIC_FROM = 20.0


def draw_curves(
    metrics: Path, picture: Path, *, title: str = "", baseline: float | None = None, best_step: int | None = None
) -> None:
    """Draw the losses and, where there were evaluations, their values over the steps.

    Args:
        metrics: a log whose steps have `loss`, and perhaps `pairwise` and `in_batch`, and whose evaluations have
            `measure` and `value`.
        picture: the PNG to write.
        title: the title above the picture.
        baseline: the value of the run that the validation set was made from; a dashed line.
        best_step: the evaluation that gave the model kept; it is marked.

    Raises:
        TasbError: the log has not one step, or cannot be read.
        OSError: the disk refuses.
    """
    curves = _read(metrics)
    if not curves.steps:
        raise TasbError(
            where=str(metrics), expected="at least one record of a step", found="none", do="train for some steps first"
        )
    from matplotlib.ticker import MaxNLocator

    rows = 2 if curves.evaluations else 1
    figure = plots.new_figure(9, 3.4 * rows + 0.4)
    panels: Any = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    _draw_losses(panels[0], curves)
    if curves.evaluations:
        _draw_evaluations(panels[1], curves, baseline, best_step)
    panels[-1].set_xlabel("step")
    if len(set(curves.steps)) == 1 and not curves.evaluations:
        panels[-1].set_xlim(curves.steps[0] - 1, curves.steps[0] + 1)  # else a thousandth of a step to each side
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if title:
        figure.suptitle(title, fontsize=12)
    write_whole(picture, plots.as_png(figure))


@dataclass
class _Curves:
    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in LOSSES})
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    measure: str = ""


def _read(metrics: Path) -> _Curves:
    curves = _Curves()
    for record in read_metrics(metrics):
        if record["kind"] == "evaluation":
            curves.evaluations.append((record["step"], _number(record.get("value"))))
            curves.measure = str(record.get("measure", ""))
        elif record["kind"] == "step":
            curves.steps.append(record["step"])
            for name, values in curves.losses.items():
                values.append(_number(record.get(name)))
    return curves


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _draw_losses(panel: Any, curves: _Curves) -> None:
    steps = np.asarray(curves.steps, dtype=np.float64)
    extremes = []
    for name, values in curves.losses.items():
        losses = np.asarray(values, dtype=np.float64)
        seen = np.isfinite(losses)
        if not seen.any():
            continue
        at, means = _downsampled(steps[seen], losses[seen])
        smooth, colour = _smoothed(means), COLOURS[name]
        marker = "o" if len(at) == 1 else None
        panel.plot(at, means, color=colour, alpha=0.22, linewidth=0.8)
        panel.plot(at, smooth, color=colour, linewidth=1.7, marker=marker, label=LOSSES[name])
        extremes += [means.max(), smooth.min()]
    if extremes and min(extremes) > 0 and max(extremes) / min(extremes) > LOGARITHMIC_FROM:
        _make_logarithmic(panel)
    _style(panel, "loss")


def _make_logarithmic(panel: Any) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _draw_evaluations(panel: Any, curves: _Curves, baseline: float | None, best_step: int | None) -> None:
    steps, values = (np.asarray(column, dtype=np.float64) for column in zip(*curves.evaluations, strict=True))
    panel.plot(
        steps,
        values,
        color=COLOURS["evaluation"],
        linewidth=1.7,
        marker="o" if len(steps) <= 60 else None,
        markersize=4,
    )
    if baseline is not None:
        panel.axhline(baseline, color=plots.MUTED, linewidth=1, linestyle="--", label=f"baseline run {baseline:.4f}")
    for step, value in curves.evaluations:
        if step == best_step:
            panel.plot(
                [step],
                [value],
                "*",
                color=COLOURS["best"],
                markersize=13,
                zorder=3,
                label=f"best {value:.4f}, step {step:,}",
            )
            panel.axvline(step, color=COLOURS["best"], linewidth=0.8, alpha=0.5)
    _style(panel, curves.measure)


def _style(panel: Any, label: str) -> None:
    panel.set_ylabel(label)
    plots.style(panel, decimals=None)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9)


def _downsampled(steps: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Means of at most `POINTS` runs of neighbours."""
    starts = np.unique(np.linspace(0, len(values), min(POINTS, len(values)), endpoint=False).astype(np.intp))
    sizes = np.diff(starts, append=len(values))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A moving mean; towards both ends its window shrinks on both sides, or a steep start would look flat."""
    centre = np.arange(len(values))
    half = np.minimum(int(len(values) * SMOOTHED_OVER / 2), np.minimum(centre, centre[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((sums[centre + half + 1] - sums[centre - half]) / (2 * half + 1))
