"""A page's plots, as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.evaluate.recall_plot import recall_figure
from pyserini_tasb.palette import COLOURS
from pyserini_tasb.pipelines.study.picture import study_figure
from pyserini_tasb.regress.report.themed_svg import drawing, themed_svg

if TYPE_CHECKING:
    from pyserini_tasb.pipelines.study.document import StudyDocument
    from pyserini_tasb.regress.report.sections import Section

# Inches. A phone shows it about as large as it is, a desktop half as large again.
WIDTH = 4.4
NDCG = "nDCG@10"


def recall_svg(section: Section, salt: str) -> str:
    """Recall at cutoffs of all conditions that have it, as Figure 3 of the paper; empty where none has."""
    found = {row.label: row.result.recall for row in section.rows if row.result.recall and row.result.recall.at}
    if not found:
        return ""
    grade = next(iter(found.values())).grade  # the topic set's
    curves = {label: np.array(recall.at) for label, recall in found.items()}
    with drawing(salt):
        figure = recall_figure(curves, section.topics, grade)
        figure.set_size_inches(WIDTH, 3.1 + 0.19 * len(curves))
        return themed_svg(figure)


def ndcg_svg(section: Section, salt: str) -> str:
    """nDCG@10 of all conditions that have it, beside what was expected; empty where none has."""
    rows = [row for row in section.rows if NDCG in row.cells]
    if not rows:
        return ""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing(salt):
        figure = Figure(figsize=(WIDTH, 1.1 + 0.27 * len(rows)), dpi=140, layout="constrained")
        FigureCanvasAgg(figure)
        panel: Any = figure.subplots()
        heights = np.arange(len(rows))
        panel.barh(heights, [row.cells[NDCG].measured for row in rows], height=0.62, color=COLOURS[0], label="measured")
        expected = [(height, check.expected) for height, row in enumerate(rows) for check in [row.cells[NDCG]]]
        known = [(height, value) for height, value in expected if value is not None]
        if known:
            at, values = zip(*known, strict=True)
            panel.plot(values, at, "|", color=COLOURS[1], markersize=13, markeredgewidth=2.2, label="expected")
        panel.set_yticks(heights, [row.label for row in rows])
        panel.invert_yaxis()
        panel.set_xlim(left=0)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.1f}".removeprefix("0"))
        panel.set_title(f"{NDCG}, {section.topics}", fontsize=11)
        panel.grid(visible=True, axis="x", color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=2)
        return themed_svg(figure)


def study_svgs(study: StudyDocument, salt: str) -> dict[str, str]:
    """A plot for each column that some cell has a value in; empty where there is no cell yet."""
    cells = [entry for entry in study.entries if entry.levels is not None]
    plots = {}
    for column, (task, measure) in enumerate(study.columns):
        if any(cell.values[column] for cell in cells):
            own = f"{salt}-{column}"
            with drawing(own):
                plots[f"{task}: {measure}"] = themed_svg(study_figure(study, [column], width=WIDTH))
    return plots
