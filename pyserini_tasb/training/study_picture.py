"""A study as a picture: each task's first measure, one line for each cell, the other rows as reference lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.plots import COLOURS, MUTED, as_png, new_figure, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pyserini_tasb.training.study_report import MeasuredEntry, StudyDocument


LINES = ("--", ":", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (1, 4)), (0, (9, 3)))
GAP = 0.6  # between the cells of one level of the first axis and those of the next
WIDTH_OF_PANEL, WIDTH_OF_LABELS = 3.6, 2.6  # inches


def draw(study: StudyDocument, picture: Path) -> None:
    """Write a PNG: `study_figure` of all tasks, side by side.

    Raises:
        TasbError: the file cannot be written.
    """
    figure = study_figure(study, first_columns(study))
    if study.description:
        figure.suptitle(study.description, fontsize=11)
    write_whole(picture, as_png(figure))


def first_columns(study: StudyDocument) -> list[int]:
    """Numbers of the columns that have each task's first measure."""
    first = {task: number for number, (task, _) in reversed(list(enumerate(study.columns)))}
    return sorted(first.values())


def study_figure(study: StudyDocument, columns: Sequence[int], width: float | None = None) -> Figure:
    """A panel for each column; the lines' ends are the lowest and highest seed.

    Args:
        study: what was measured.
        columns: numbers of the columns, from 0.
        width: the size in inches; by default it fits the panels.
    """
    cells = [entry for entry in study.entries if entry.levels is not None]
    others = [entry for entry in study.entries if entry.levels is None]
    heights = _heights(cells)
    inches = 1.9 + 0.28 * (heights[-1] if heights else 0)
    figure = new_figure(width or WIDTH_OF_LABELS + WIDTH_OF_PANEL * len(columns), inches)
    panels: Any = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    colours = _colours(study, cells)
    for panel, column in zip(panels, columns, strict=True):
        _draw_others(panel, {other.name: np.array(other.values[column]) for other in others})
        for cell, height, colour in zip(cells, heights, colours, strict=True):
            _draw_cell(panel, np.array(cell.values[column]), height, colour)
        _style(panel, "{}: {}".format(*study.columns[column]))
    panels[0].set_yticks(heights, [cell.label for cell in cells])
    panels[0].invert_yaxis()
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines() if line.get_label()[0] != "_"}
    if lines:
        per_line = 6 if width is None else 3
        figure.legend(
            lines.values(), lines.keys(), frameon=False, fontsize=9, loc="outside lower center", ncols=per_line
        )
    return figure


def _draw_others(panel: Any, values: Mapping[str, NDArray[np.float64]]) -> None:
    for number, (name, by_seed) in enumerate(values.items()):
        if len(by_seed):
            line = LINES[number % len(LINES)]
            panel.axvline(by_seed.mean(), color=MUTED, linewidth=1, linestyle=line, zorder=1, label=name)


def _draw_cell(panel: Any, by_seed: NDArray[np.float64], height: float, colour: str) -> None:
    if len(by_seed):
        ends = [by_seed.min(), by_seed.max()]
        panel.plot(ends, [height, height], color=colour, linewidth=2.2, alpha=0.5, zorder=2)
        panel.plot(by_seed, [height] * len(by_seed), "o", color=colour, markersize=3, alpha=0.6, zorder=3)
        panel.plot([by_seed.mean()], [height], "o", color=colour, markersize=7, zorder=4)


def _style(panel: Any, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(title, fontsize=10)
    style(panel, decimals=None, grid="x")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # not .525, which two decimals would hide
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.3f}".removesuffix("0").removeprefix("0"))


def _heights(cells: Sequence[MeasuredEntry]) -> list[float]:
    """Where each cell's line is, downwards."""
    heights: list[float] = []
    for number, cell in enumerate(cells):
        changed = number > 0 and _first(cell) != _first(cells[number - 1])
        heights.append((heights[-1] + 1 if heights else 0) + (GAP if changed else 0))
    return heights


def _first(cell: MeasuredEntry) -> str:
    return cell.levels[0] if cell.levels else ""


def _colours(study: StudyDocument, cells: Sequence[MeasuredEntry]) -> list[str]:
    """By the level of the second axis, if there is one."""
    axis = min(1, len(study.axes) - 1)
    levels = list(study.axes.values())[axis]
    return [COLOURS[levels.index(cell.levels[axis]) % len(COLOURS)] for cell in cells if cell.levels]
