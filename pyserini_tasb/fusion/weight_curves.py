"""The measure against one run's weight, the other weights as they were chosen."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.plots import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.fusion.trials import Outcome, Side
    from pyserini_tasb.fusion.tuning import TopicSets
    from pyserini_tasb.fusion.weight_search import Search


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured.

    Attributes:
        runs: whose weight it is, one in each set of topics.
        weights: of these runs, ascending, shape (weights,).
        tuned: the mean over the queries tuned on, shape (weights,); `tested` likewise over others, if there are such.
        chosen: the weight chosen.
        fold_choices: those chosen without each fold of a cross-validation.
    """

    runs: tuple[str, ...]
    weights: NDArray[np.float64]
    tuned: NDArray[np.float64]
    tested: NDArray[np.float64] | None
    chosen: float
    fold_choices: tuple[float, ...]


def curves_through(outcome: Outcome, search: Search, topics: TopicSets, train: Side, test: Side | None) -> list[Curve]:
    """A curve for each of the recipe's inputs but the first, through the weights that were chosen."""
    return [
        Curve(
            runs=topics.runs_of_input(number),
            weights=weights[:, number],
            tuned=train.mean(weights),
            tested=test.mean(weights) if test else None,
            chosen=float(outcome.weights[number]),
            fold_choices=tuple(outcome.fold_weights[:, number].tolist()),
        )
        for number, weights in enumerate(search.lines(outcome.weights), 1)
    ]


def write_curves(curves: Sequence[Curve], measure: str, title: str, table: Path, picture: Path) -> None:
    """Write all of them, one below the other in a CSV, side by side in a PNG.

    Raises:
        TasbError: the disk refuses.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    tested = [] if curves[0].tested is None else [f"{measure} tested on"]
    rows.writerow(["runs", "weight", f"{measure} tuned on", *tested])
    for curve in curves:
        rows.writerows(_rows(curve))
    write_whole(table, text.getvalue())
    write_whole(picture, drawn(curves, measure, title))


def _rows(curve: Curve) -> Iterator[list[object]]:
    columns = [curve.weights, curve.tuned] + ([] if curve.tested is None else [curve.tested])
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield [" ".join(curve.runs), *row]
