"""DEV-49K: the judged dev queries that no evaluation set has, for early stopping (paper, Section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.evaluate.line_files import LineFaults, open_lines, require_utf8
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# DEV-7K and the TREC evaluation sets, as this package bundles them.
EVALUATION_SETS = ("msmarco-passage-dev-subset", "dl19-passage", "dl20-passage")
TOPICS, QRELS = "topics.tsv", "qrels.txt"


def write_held_out(dev_queries: Path, dev_qrels: Path, folder: Path) -> int:
    """Write `topics.tsv` and `qrels.txt` of the dev queries that are judged and in no evaluation set.

    Args:
        dev_queries: qid TAB text.
        dev_qrels: TREC's four columns, separated by tabs.
        folder: is made.

    Returns:
        How many queries these are.

    Raises:
        TasbError: a faulty line, or no query is left; the disk refuses.
    """
    evaluated = {qid for name in EVALUATION_SETS for qid in load_topics(name)}
    folder.mkdir(parents=True, exist_ok=True)
    judged: set[str] = set()
    texts: set[str] = set()
    _copy_lines(dev_qrels, folder / QRELS, lambda qid: qid not in evaluated, judged)
    _copy_lines(dev_queries, folder / TOPICS, judged.__contains__, texts)
    if not texts:
        raise TasbError(
            where=str(dev_queries),
            expected="judged queries that are in none of the evaluation sets",
            found="none",
            do="check that dev queries and dev qrels belong together",
        )
    return len(texts)


def _copy_lines(source: Path, target: Path, keep: Callable[[str], bool], kept: set[str]) -> None:
    faults = LineFaults(source, expected="qid TAB …")
    records = 0
    with open_lines(source) as lines, whole_text_file(target) as copy:
        for number, line in enumerate(lines, 1):
            qid, tab, _ = line.partition("\t")
            try:
                require_utf8(line)
            except ValueError as error:
                faults.add(number, str(error))
                continue
            if not tab:
                faults.add(number, "no tab")
            elif keep(qid):
                copy.write(line)
                kept.add(qid)
            records += 1
        faults.finish(records=records)
