"""A report as one self-contained HTML page, without network or other files."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.evaluation.recall import recall_figure
from pyserini_tasb.pages import page_environment, rendered_page
from pyserini_tasb.plots import COLOURS, drawing, themed_svg
from pyserini_tasb.regression.report_content import (
    compare_queries,
    cut,
    log_tail,
    measured_values,
    study_differences,
    study_rows,
)
from pyserini_tasb.regression.verdicts import DECIMALS, as_printed
from pyserini_tasb.training.study_picture import study_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

    from pyserini_tasb.evaluation.significance import PairedTest
    from pyserini_tasb.regression.report_content import Content, Pair, QueryComparison, Section
    from pyserini_tasb.training.study_report import StudyDocument


EMBEDDED_DECIMALS = 6  # so that differences are right to the four that are shown


def as_page(content: Content) -> str:
    """The page. What results, logs, topics and studies say is text in it, whatever it contains."""
    comparisons = [compare_queries(section, content.folder) for section in content.sections]
    return rendered_page(
        _environment(),
        "report",
        [_data(*pair) for pair in zip(content.sections, comparisons, strict=True)],
        content=content,
        comparisons=comparisons,
        plots=[
            {NDCG: ndcg_svg(section, f"ndcg-{number}"), "Recall at cutoffs": recall_svg(section, f"recall-{number}")}
            for number, section in enumerate(content.sections)
        ],
        study_plots=[study_svgs(study, f"study-{number}") for number, study in enumerate(content.studies)],
        measured=lambda table, row: measured_values(table, row, content.results),
        log=lambda name: log_tail(content.folder, name),
    )


def _environment() -> Environment:
    environment = page_environment(__package__)
    environment.filters |= {
        "value": lambda value: f"{value:.{DECIMALS}f}",
        "signed": lambda value: f"{value:+.{DECIMALS}f}",
        "printed": as_printed,
        "lines": lambda text: "\n".join(cut(line) for line in text.splitlines()),
        "command": shlex.join,
    }
    environment.globals |= {"study_rows": study_rows, "study_differences": study_differences}
    return environment


def _data(section: Section, comparison: QueryComparison | None) -> dict[str, Any] | None:
    """The data that the script shows of a section's queries."""
    if comparison is None:
        return None
    return {
        "conditions": [row.label for row in section.rows],
        "queries": comparison.queries,
        "texts": comparison.texts,
        "measures": {
            measure: {
                "values": {place: [round(value, EMBEDDED_DECIMALS) for value in of] for place, of in values.items()},
                "tests": _tests(comparison.tests.get(measure, {})),
            }
            for measure, values in comparison.values.items()
        },
    }


def _tests(tests: Mapping[Pair, PairedTest]) -> dict[str, dict[str, Any]]:
    return {
        f"{one} {other}": {
            "difference": test.difference,
            "low": _finite(test.interval[0]),
            "high": _finite(test.interval[1]),
            "p": test.p_holm,
            "significant": test.significant,
            "wins": test.wins,
            "ties": test.ties,
            "losses": test.losses,
        }
        for (one, other), test in tests.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


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
