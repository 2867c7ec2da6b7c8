"""The results in docs/ablation-tables.md, out of what run.py left, in Markdown.

python benchmarks/ablation/results.py FOLDER --grid small
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student_t

from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.study_report import read_document

if TYPE_CHECKING:
    from pyserini_tasb.training.study_report import StudyDocument


BELOW, ABOVE = "untrained", "MiniLM"
TASKS = ("dl19", "dl20")
QUERIES = {"dl19": 43, "dl20": 54, "both": 97, "pool": 97}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid", required=True, choices=GRIDS)
    arguments = parser.parse_args()
    print("\n\n".join(GRIDS[arguments.grid](arguments.folder)))


def small(folder: Path) -> list[str]:
    """The grid with BERT_CAT and ColBERT."""
    return [
        "## Every model",
        study_tables(folder / "study"),
        picture("ablation.png"),
        "## Share of the gap to all-MiniLM",
        gap_table(read_document(folder / "study")),
        "## Cost of a sample",
        text_of(folder / "cost.md"),
        "## Titled or raw",
        in_lines(folder / "formats.txt"),
    ]


def mpnet(folder: Path) -> list[str]:
    """The grid with all-mpnet-base-v2, and the student that should be better than its start."""
    return [
        "## The grid",
        study_tables(folder / "study"),
        picture("ablation-mpnet.png"),
        "## Better than its start",
        study_tables(folder / "better"),
        picture("better-than-its-start.png"),
        "## The smallest difference that the grid can detect",
        detectable(read_document(folder / "study")),
        "## Cost of a sample",
        text_of(folder / "cost.md"),
        "## The data",
        *(in_lines(folder / f"{name}.txt") for name in ("formats.all", "quantiles", "pseudo")),
    ]


GRIDS = {"small": small, "mpnet": mpnet}


def detectable(study: StudyDocument, letter: str = "r", power: float = 0.8) -> str:
    """A true difference to random sampling that a test finds in 8 of 10 cases, by the spread that was measured.

    A 95 % interval has the half width t(.975) · s / √n, with s the deviation of the queries' differences. A difference
    of (t(1 - p/2) + t(.8)) · s / √n gets a p-value below p with a probability of .8.
    """
    lines = []
    for number, (task, measure) in enumerate(study.columns):
        found = [each for each in study.differences if (each.letter, each.column) == (letter, number) and each.interval]
        if not found:
            continue
        half = float(np.median([(each.interval[1] - each.interval[0]) / 2 for each in found]))
        freedom = QUERIES[task] - 1
        error = half / student_t.ppf(0.975, freedom)
        by_alpha = [
            error * (student_t.ppf(1 - alpha / 2, freedom) + student_t.ppf(power, freedom))
            for alpha in (0.05, 0.05 / len(found))
        ]
        lines.append([f"{task} {measure}", str(len(found)), *(f"{value:.4f}" for value in by_alpha)])
    return markdown_table(["column", "differences", "a single test", "the first test of Holm"], lines)


def study_tables(study: Path) -> str:
    """A study's tables, without its own title and description, one level below the page's headings."""
    table = (study / "table.md").read_text(encoding="utf-8").split("\n\n", 2)[2].strip()
    return table.replace("\n## ", "\n### ")


def picture(name: str) -> str:
    return f"![nDCG@10 of all cells, and of the models beside them]({name})"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def in_lines(path: Path) -> str:
    return text_of(path).replace("\n", "  \n")


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
