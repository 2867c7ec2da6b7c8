"""Re-rank the real TAS-B and BM25 top 100 of TREC-DL 2019 and 2020 with several models, and evaluate at each depth.

    python benchmarks/rerank_depths.py --corpus collection.tsv --models minilm=tasb:minilm --splade --output DIR

Each model scores each top 100 once; what is there already is not scored again. Printed in Markdown, for each year: what
re-ranking the top 100 is worth (paired t-tests against the first stage), and nDCG@10 at each depth, which is drawn as
well. `tasb rerank` says on its way how long queries take. --splade re-ranks with SPLADE-tiny, too (ablation/splade.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TASB = [sys.executable, "-m", "pyserini_tasb"]
SPLADE = [sys.executable, str(Path(__file__).parent / "ablation" / "splade.py")]
YEARS, FIRST_STAGES = ("dl19-passage", "dl20-passage"), ("bm25", "tasb")


def main() -> int:
    """Re-rank, evaluate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="the passages of MS MARCO, or those of the runs")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME=MODEL", help="what tasb rerank takes")
    parser.add_argument("--splade", action="store_true", help="with SPLADE-tiny as well")
    parser.add_argument("--precision", default="bf16", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for year in YEARS:
        first_stages = {f"{year}.{stage}": reranked_runs(arguments, year, f"{year}.{stage}") for stage in FIRST_STAGES}
        for first, runs in first_stages.items():
            tasb("evaluate", "--qrels", year, "--baseline", first, "--runs", *runs, "--markdown")
        swept = [option for first, runs in first_stages.items() for option in ("--first-stage", first, *runs)]
        picture = arguments.output / f"{year}.depths.png"
        tasb("rerank-depths", "--qrels", year, *swept, "--output", picture, "--overwrite", "--markdown")
    return 0


def reranked_runs(arguments: argparse.Namespace, year: str, first: str) -> list[Path]:
    runs = []
    texts = ["--run", first, "--topics", year, "--corpus", arguments.corpus]
    for name, model in (each.split("=", 1) for each in arguments.models):
        runs.append(arguments.output / f"{first}.{name}.txt")
        if not runs[-1].exists():
            options = ["--model", model, "--precision", arguments.precision, "--tag", name]
            tasb("rerank", *texts, *options, "--output", runs[-1])
    if arguments.splade:
        runs.append(arguments.output / f"{first}.splade-tiny.txt")
        if not runs[-1].exists():
            called([*SPLADE, "rerank", *texts, "--output", str(runs[-1])])
    return runs


def tasb(*arguments: object) -> None:
    called([*TASB, *map(str, arguments)])
    print(flush=True)


def called(command: list[str]) -> None:
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(main())
