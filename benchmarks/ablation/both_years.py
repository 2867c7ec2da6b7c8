"""The queries of TREC-DL 2019 and 2020 together: topics, judgments and BM25's run.

python benchmarks/ablation/both_years.py FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyserini_tasb.formats.named import load_qrels, load_run, load_topics
from pyserini_tasb.formats.run import Run

YEARS = ("dl19-passage", "dl20-passage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="gets topics.tsv, qrels.txt and bm25.txt")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    topics, qrels, run = {}, {}, {}
    for year in YEARS:
        of_year = load_qrels(year)
        qrels |= of_year
        topics |= {qid: text for qid, text in load_topics(year).items() if qid in of_year}
        run |= {qid: ranking for qid, ranking in load_run(f"{year}.bm25").items() if qid in of_year}
    write(folder / "topics.tsv", [f"{qid}\t{text}" for qid, text in topics.items()])
    write(
        folder / "qrels.txt", [f"{qid} 0 {pid} {grade}" for qid, pids in qrels.items() for pid, grade in pids.items()]
    )
    Run(run).write(folder / "bm25.txt", tag="bm25")
    print(f"{len(topics)} judged queries")


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
