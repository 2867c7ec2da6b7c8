"""Recall at every cutoff, as numbers and as a picture (Figure 3 of the TAS-B paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.plots import COLOURS, new_figure, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pyserini_tasb.formats.qrels import QrelsDict


DEEPEST = 1_000
# Beside the colours, for prints in grey.
LINES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 3)), (0, (1, 3)))
CUTOFFS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


def recall_curve(run: Mapping[str, Mapping[str, float]], qrels: QrelsDict, grade: int = 1) -> NDArray[np.float64]:
    """Mean recall at cutoffs 1, 2, 3, …, as `R(rel=grade)@cutoff`: over all judged queries, missing ones as 0.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        grade: the lowest grade of a relevant document.

    Returns:
        [cutoffs]: as many as the run's deepest ranking of a judged query has documents, 1,000 at most.
    """
    depth = max((len(run[qid]) for qid in qrels if qid in run), default=0)
    gains = np.zeros(min(depth, DEEPEST))
    for qid, judged in qrels.items():
        relevant = {docid for docid, judgment in judged.items() if judgment >= grade}
        for rank, docid in enumerate(ranked_docids(run.get(qid, {}))[: len(gains)]):
            if docid in relevant:
                gains[rank] += 1 / len(relevant)
    return gains.cumsum() / len(qrels)


def recall_figure(curves: Mapping[str, NDArray[np.float64]], qrels: str, grade: int) -> Figure:
    """A line for each run up to its depth, the cutoffs on a logarithmic axis.

    Args:
        curves: name of the run → recall at cutoffs 1, 2, 3, …, of `recall_curve`.
        qrels: the name of the qrels.
        grade: the lowest grade of a relevant document.
    """
    figure = new_figure(7, 4.4 + 0.22 * len(curves))
    panel: Any = figure.subplots()
    _draw_lines(panel, curves)
    deepest = max(map(len, curves.values()))
    panel.set_xscale("log")
    panel.set_xlim(1, max(deepest * 1.06, 2))
    shown = [cutoff for cutoff in CUTOFFS if cutoff <= deepest]
    panel.set_xticks(shown, [f"{cutoff:,}" for cutoff in shown])
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    style(panel, decimals=2)
    panel.set_xlabel("cutoff")
    panel.set_ylabel(f"recall (rel={grade})")
    panel.set_title(f"Recall at cutoffs, {qrels}", fontsize=11)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center")
    return figure


def _draw_lines(panel: Any, curves: Mapping[str, NDArray[np.float64]]) -> None:
    # The best at the end comes first in the legend, as the lines lie; a run's colour is by its place among those given.
    for number, (name, curve) in sorted(enumerate(curves.items()), key=lambda item: -item[1][1][-1]):
        colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
        panel.plot(range(1, len(curve) + 1), curve, label=name, linewidth=1.8, color=colour, linestyle=line)
        panel.plot(len(curve), curve[-1], "o", color=colour, markersize=4)
