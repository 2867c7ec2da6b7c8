"""The results in docs/fusion-trec-dl.md: every fusion of TAS-B and BM25 on TREC-DL 2019 and 2020, untuned and tuned.

    python benchmarks/fusion_page/run.py

Writes what stands between the page's two marks, and the picture; what stands around them is kept. The runs, top 100 of
8.8 million passages, come from regressions/data/.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from one_run import one_run_table
from picture import drawn
from topic_set import TopicSet
from tuned import shuffled_values, tuned_rows
from tuned_tables import pooled_table, shuffles_line, tuned_table
from untuned import untuned_tables

from pyserini_tasb.artifacts import write_whole

HERE = Path(__file__).resolve()
MARKED_PAGE = HERE.parents[1] / "marked_page.py"
PAGE = HERE.parents[2] / "docs" / "fusion-trec-dl.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="default: docs/fusion-trec-dl.md")
    page = parser.parse_args().page
    sets = TopicSet.load("dl19-passage"), TopicSet.load("dl20-passage")
    picture = page.with_name("fusion.png")
    subprocess.run([sys.executable, MARKED_PAGE, page], input=results(sets, picture.name), text=True, check=True)
    write_whole(picture, drawn(sets))


def results(sets: tuple[TopicSet, TopicSet], picture: str) -> str:
    tuned = [tuned_rows(here, other) for here, other in (sets, sets[::-1])]
    parts = ["## Each run by itself", one_run_table(sets), "## Untuned", *untuned_tables(sets), "## Tuned"]
    parts += [tuned_table(topics, rows) for topics, rows in zip(sets, tuned, strict=True)]
    parts.append(pooled_table(sets, tuned))
    parts.append(shuffles_line(sets, [shuffled_values(each) for each in sets]))
    parts.append(f"![nDCG@10 and recall at 100 against alpha, on both sets]({picture})")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
