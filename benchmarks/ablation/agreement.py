"""How far students agree with the other models on what BM25 found for TREC-DL, from a study's saved runs.

    python benchmarks/ablation/agreement.py study

The correlation of two models' scores of a query's top 100, on average over the 97 queries. Differences are to the
student of the same teachers and seed that learned from random batches, ± half of their 95 % interval over queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.formats.named import load_run
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from pyserini_tasb.formats.run_table import RunDict

TASKS = ("dl19", "dl20")
OTHERS = ("ColBERT", "BERT_CAT", "MiniLM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    arguments = parser.parse_args()
    others = {name: runs(arguments.study / "rows" / name) for name in OTHERS}
    lines = []
    measured = sorted(path.parent for path in arguments.study.glob("cells/*+margin-mse+b32/seed-*/row.json"))
    for folder in measured:
        teachers, sampling = folder.parent.name.split("+")[:2]
        base = folder.parent.with_name(f"{teachers}+random+margin-mse+b32") / folder.name
        cells = []
        for other in others.values():
            mine = correlations(runs(folder), other)
            cells.append(f"{mine.mean():.3f}")
            if sampling != "random":
                cells[-1] += f" ({interval(mine - correlations(runs(base), other))})"
        lines.append([teachers, sampling, folder.name.removeprefix("seed-"), *cells])
    print(markdown_table(["teachers", "sampling", "seed", *(f"r with {name}" for name in OTHERS)], lines))


def runs(folder: Path) -> list[RunDict]:
    """Of each task."""
    return [load_run(folder / "runs" / f"{task}.txt") for task in TASKS]


def correlations(mine: list[RunDict], theirs: list[RunDict]) -> np.ndarray:
    """[queries] of the scores of a query's passages."""
    found = []
    for one, other in zip(mine, theirs, strict=True):
        for qid, scores in one.items():
            found.append(np.corrcoef([[score, other[qid][docid]] for docid, score in scores.items()], rowvar=False))
    return np.array(found)[:, 0, 1]


def interval(differences: np.ndarray) -> str:
    """The mean difference and half of its 95 % interval."""
    return f"{differences.mean():+.3f} ± {1.96 * differences.std(ddof=1) / len(differences) ** 0.5:.3f}"


if __name__ == "__main__":
    main()
