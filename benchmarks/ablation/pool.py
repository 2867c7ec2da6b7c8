"""The passages that students search: those that TREC-DL 2019 or 2020 judges, and BM25's top 100.

python benchmarks/ablation/pool.py data/tested.tsv pool.tsv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyserini_tasb.formats.named import load_qrels, load_run

YEARS = ("dl19", "dl20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tested", type=Path, help="TSV of passages")
    parser.add_argument("output", type=Path, help="gets those lines of it")
    arguments = parser.parse_args()
    copy_pool(arguments.tested, arguments.output)


def copy_pool(tested: Path, output: Path) -> None:
    """Copy the lines of these passages."""
    wanted: set[str] = set()
    for year in YEARS:
        for judged in load_qrels(f"{year}-passage").values():
            wanted.update(judged)
        for ranking in load_run(f"{year}-passage.bm25").values():
            wanted.update(ranking)
    with tested.open(encoding="utf-8") as lines:
        found = {pid: line for line in lines if (pid := line.partition("\t")[0]) in wanted}
    if missing := wanted - set(found):
        sys.exit(f"{tested}: {len(missing)} of {len(wanted)} passages are missing, {min(missing)} for one")
    output.write_text("".join(found.values()), encoding="utf-8")


if __name__ == "__main__":
    main()
