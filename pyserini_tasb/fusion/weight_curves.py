"""The measure against one run's weight, the other weights as they were chosen."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.plots import COLOURS, INK, as_png, new_panels, style

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.fusion.trials import Outcome, Split
    from pyserini_tasb.fusion.weight_search import Search


TUNED, TESTED = COLOURS[:2]
CHOSEN, FOLDS = INK, "#999999"


@dataclass(frozen=True, eq=False)
class Curve:
    """A measure against the weight of one input.

    Attributes:
        runs: the input's runs, one in each set of topics.
        weights: theirs, ascending, shape (weights,).
        tuned: the mean over the queries tuned on, shape (weights,); `tested` likewise over others, if there are such.
        chosen: the weight chosen.
        fold_choices: the weights chosen without each fold of a cross-validation.
    """

    runs: tuple[str, ...]
    weights: NDArray[np.float64]
    tuned: NDArray[np.float64]
    tested: NDArray[np.float64] | None
    chosen: float
    fold_choices: tuple[float, ...]


def curves_through(
    outcome: Outcome, search: Search, inputs: Sequence[tuple[str, ...]], train: Split, test: Split | None
) -> list[Curve]:
    """A curve for each of the recipe's inputs but the first, through the weights that were chosen.

    Args:
        outcome: the weights.
        search: where they were looked for.
        inputs: the names of each input's runs, one of each set of topics.
        train: the queries tuned on.
        test: other queries, if there are such.
    """
    return [
        Curve(
            runs=inputs[number],
            weights=weights[:, number],
            tuned=train.mean(weights),
            tested=test.mean(weights) if test else None,
            chosen=float(outcome.weights[number]),
            fold_choices=tuple(outcome.fold_weights[:, number].tolist()),
        )
        for number, weights in enumerate(search.lines(outcome.weights), 1)
    ]


def drawn_curves(curves: Sequence[Curve], measure: str, title: str) -> tuple[str, bytes]:
    """All of them: one below the other in a CSV, side by side in a PNG."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    tested = [] if curves[0].tested is None else [f"{measure} tested on"]
    rows.writerow(["runs", "weight", f"{measure} tuned on", *tested])
    for curve in curves:
        rows.writerows(_rows(curve))
    return text.getvalue(), curves_picture(curves, measure, title)


def _rows(curve: Curve) -> Iterator[list[object]]:
    columns = [curve.weights, curve.tuned] + ([] if curve.tested is None else [curve.tested])
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield [" ".join(curve.runs), *row]


def curves_picture(curves: Sequence[Curve], measure: str, title: str) -> bytes:
    """A PNG with a panel for each curve."""
    figure, panels = new_panels(len(curves))
    for panel, curve in zip(panels, curves, strict=True):
        _draw(panel, curve)
        panel.set_xlabel(f"weight of {', '.join(Path(name).name for name in curve.runs)}")
        style(panel)
    panels[0].set_ylabel(measure)
    figure.suptitle(title, fontsize=11)
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=4
    )
    return as_png(figure)


def _draw(panel: Any, curve: Curve) -> None:
    panel.plot(curve.weights, curve.tuned, color=TUNED, linewidth=1.7, label="queries tuned on")
    if curve.tested is not None:
        panel.plot(curve.weights, curve.tested, color=TESTED, linewidth=1.7, linestyle="--", label="other queries")
    panel.axvline(curve.chosen, color=CHOSEN, linewidth=1, label="chosen")
    panel.set_title(f"chosen: {curve.chosen:g}", fontsize=10)
    for number, weight in enumerate(curve.fold_choices):
        label = "chosen without a fold" if number == 0 else None
        panel.axvline(weight, color=FOLDS, linewidth=1, linestyle=":", zorder=1, label=label)
