"""A study as a picture: each task's first measure, one line for each cell, the other rows as reference lines."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pyserini_tasb.palette import COLOURS
from pyserini_tasb.pipelines.study.comparison import measures_of
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

LINES = ("--", ":", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (1, 4)), (0, (9, 3)))
GAP = 0.6  # between the cells of one level of the first axis and those of the next


def draw(study: StudyConfig, entries: Sequence[Entry], picture: Path) -> None:
    """Write a PNG; the lines' ends are the lowest and highest seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = [entry for entry in entries if entry.levels is not None]
    others = [entry for entry in entries if entry.levels is None]
    heights = _heights(cells)
    columns = list({task: (task, measure) for task, measure in reversed(measures_of(study))}.values())[::-1]
    # Without pyplot, which would look for a display.
    figure = Figure(
        figsize=(2.6 + 3.6 * len(columns), 1.9 + 0.28 * (heights[-1] if heights else 0)),
        dpi=140,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    colours = _colours(study, cells)
    for panel, (task, measure) in zip(panels, columns, strict=True):
        _draw_others(panel, {other.name: other.by_seed(task, measure) for other in others})
        for cell, height, colour in zip(cells, heights, colours, strict=True):
            _draw_cell(panel, cell.by_seed(task, measure), height, colour)
        _finish(panel, f"{task}: {measure}")
    panels[0].set_yticks(heights, [cell.label(study) for cell in cells])
    panels[0].invert_yaxis()
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines() if line.get_label()[0] != "_"}
    if lines:
        figure.legend(lines.values(), lines.keys(), frameon=False, fontsize=9, loc="outside lower center", ncols=6)
    if study.description:
        figure.suptitle(study.description, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_whole(picture, drawn.getvalue())


def _draw_others(panel: Any, values: Mapping[str, NDArray[np.float64]]) -> None:
    for number, (name, by_seed) in enumerate(values.items()):
        if len(by_seed):
            line = LINES[number % len(LINES)]
            panel.axvline(by_seed.mean(), color="#777777", linewidth=1, linestyle=line, zorder=1, label=name)


def _draw_cell(panel: Any, by_seed: NDArray[np.float64], height: float, colour: str) -> None:
    if len(by_seed):
        ends = [by_seed.min(), by_seed.max()]
        panel.plot(ends, [height, height], color=colour, linewidth=2.2, alpha=0.5, zorder=2)
        panel.plot(by_seed, [height] * len(by_seed), "o", color=colour, markersize=3, alpha=0.6, zorder=3)
        panel.plot([by_seed.mean()], [height], "o", color=colour, markersize=7, zorder=4)


def _finish(panel: Any, title: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.grid(visible=True, axis="x", color="#e4e4e4", linewidth=0.7)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}".removeprefix("0"))


def _heights(cells: Sequence[Entry]) -> list[float]:
    """Where each cell's line is, downwards."""
    heights: list[float] = []
    for number, cell in enumerate(cells):
        changed = number > 0 and cell.levels is not None and _first(cell) != _first(cells[number - 1])
        heights.append((heights[-1] + 1 if heights else 0) + (GAP if changed else 0))
    return heights


def _first(cell: Entry) -> str:
    return cell.levels[0] if cell.levels else ""


def _colours(study: StudyConfig, cells: Sequence[Entry]) -> list[str]:
    """By the level of the second axis, if there is one."""
    axis = min(1, len(study.axes) - 1)
    levels = list(list(study.axes.values())[axis])
    return [COLOURS[levels.index(cell.levels[axis]) % len(COLOURS)] for cell in cells if cell.levels]
