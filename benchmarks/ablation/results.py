"""The results in docs/ablation-tables.md, out of what run.py left, in Markdown.

python benchmarks/ablation/results.py FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.study_report import read_document

if TYPE_CHECKING:
    from pyserini_tasb.training.study_report import StudyDocument


BELOW, ABOVE = "untrained", "MiniLM"
TASKS = ("dl19", "dl20")
PICTURE = "ablation.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    table = (folder / "study" / "table.md").read_text(encoding="utf-8")
    parts = [
        "## Every model",
        table.split("\n\n", 2)[2].strip(),  # without its own title and description
        f"![nDCG@10 of all cells, and of the models beside them]({PICTURE})",
        "## Share of the gap to all-MiniLM",
        gap_table(read_document(folder / "study")),
        "## Cost of a sample",
        (folder / "cost.md").read_text(encoding="utf-8").strip(),
        "## Titled or raw",
        (folder / "formats.txt").read_text(encoding="utf-8").strip().replace("\n", "  \n"),
    ]
    print("\n\n".join(parts))


def gap_table(study: StudyDocument) -> str:
    """How far each cell came from the untrained student to its own weights as they are meant to be read."""
    columns = [study.columns.index((task, "nDCG@10")) for task in TASKS]
    means = {
        entry.name: [float(np.mean(entry.values[column])) for column in columns]
        for entry in study.entries
        if all(entry.values[column] for column in columns)
    }
    below, above = np.array(means[BELOW]), np.array(means[ABOVE])
    lines = []
    for entry in study.entries:
        if entry.levels is not None and entry.name in means:
            gains = np.array(means[entry.name]) - below
            shares = (f"{gain:+.4f} ({share:.0%})" for gain, share in zip(gains, gains / (above - below), strict=True))
            lines.append([entry.label, str(entry.seeds), *shares])
    return markdown_table(["cell", "seeds", *(f"{task} nDCG@10" for task in TASKS)], lines)


if __name__ == "__main__":
    main()
