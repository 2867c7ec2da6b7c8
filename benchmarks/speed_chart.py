"""The chart of speed beside Pyserini: its bars, out of docs/speed/*.json, and the picture docs/speed.svg.

docs/pages.py draws the same bars on the site's first page. `python benchmarks/speed_page.py` writes the picture.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
FILES, PICTURE = ROOT / "docs" / "speed", ROOT / "docs" / "speed.svg"
# Rows of the benchmarks, and what readers call them.
OTHERS = {
    "Pyserini": "Pyserini",
    "sentence-transformers torch": "sentence-transformers",
    "OpenVINO fp32": "OpenVINO, fp32",
    "OpenVINO bf16": "OpenVINO, bf16",
}
OURS = {"onnx fp32": "ours, fp32", "torch bf16": "ours, bf16", "onnx int8": "ours, int8"}
BENCHMARKS = {"encode": "Passages", "query_latency": "One query"}


@dataclass(frozen=True)
class Bar:
    """A way to encode, and how many times as fast as Pyserini it is."""

    label: str
    value: float
    ours: bool

    @property
    def text(self) -> str:
        """The value, as the chart prints it."""
        return f"{self.value:.1f}×"  # noqa: RUF001 - a sign of multiplication


@dataclass(frozen=True)
class Panel:
    """A processor's bars."""

    title: str
    groups: dict[str, tuple[Bar, ...]]

    @property
    def longest(self) -> float:
        """The value of the longest bar."""
        return max(bar.value for bars in self.groups.values() for bar in bars)


def panels(folder: Path = FILES) -> Iterator[Panel]:
    """A panel for each file of the folder."""
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        machine = document["machine"]
        groups = {title: tuple(bars_of(document["benchmarks"][name]["rows"])) for name, title in BENCHMARKS.items()}
        name, _, instructions = machine["processor"].partition(" (")
        amx = " with AMX" if "amx" in instructions else ""  # which decides what bf16 brings
        yield Panel(f"{name}{amx}, {machine['cores']} cores", groups)


def bars_of(rows: dict[str, Any]) -> Iterator[Bar]:
    """The bars of a benchmark. Its ratio to Pyserini is a median beside the least and the most of its rounds."""
    for row, label in (OTHERS | OURS).items():
        if row in rows:
            yield Bar(label, float(rows[row]["times Pyserini"][0]), row in OURS)


# The picture. It has no background, and its colours are readable on white and on GitHub's dark grey.
WORDS, GREY, TEAL = "#747c86", "#8b949e", "#0d9488"
WIDTH, MARGIN, LABELS, VALUES, ROW = 410, 4, 150, 46, 18


def picture(found: Sequence[Panel]) -> str:
    """The chart as SVG: the processors beside each other."""
    parts, height = [], 0
    for number, panel in enumerate(found):
        lines, below = panel_lines(panel, MARGIN + number * WIDTH)
        parts += lines
        height = max(height, below)
    width = WIDTH * len(found)
    font = f'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12" fill="{WORDS}"'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        "<!-- Written by benchmarks/speed_page.py. -->",
        "<title>How many times as fast as Pyserini texts are encoded</title>",
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def panel_lines(panel: Panel, left: int) -> tuple[list[str], int]:
    """A panel's lines of SVG, and where it ends."""
    room = WIDTH - 4 * MARGIN - LABELS - VALUES
    y = 16
    lines = [f'<text x="{left}" y="{y}" font-size="13" font-weight="bold">{html.escape(panel.title)}</text>']
    for title, bars in panel.groups.items():
        y += 24
        lines.append(f'<text x="{left}" y="{y}" font-style="italic">{title}</text>')
        for bar in bars:
            y += ROW
            length = room * bar.value / panel.longest
            colour, weight = (TEAL, ' font-weight="bold"') if bar.ours else (GREY, "")
            lines += [
                f'<text x="{left + 8}" y="{y}"{weight}>{html.escape(bar.label)}</text>',
                f'<rect x="{left + LABELS}" y="{y - 10}" width="{length:.1f}" height="11" rx="2" fill="{colour}"/>',
                f'<text x="{left + LABELS + length + 5:.1f}" y="{y}"{weight}>{bar.text}</text>',
            ]
    return lines, y + 10
