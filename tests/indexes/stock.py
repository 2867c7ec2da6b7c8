"""Stock Pyserini commands in this process: a process for each index kind would start Java and torch each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import TINY, TINY_MODEL, read_scores
from tests.processes import run_stock

if TYPE_CHECKING:
    from pathlib import Path


def search(module: str, index: Path, run: Path, *options: object) -> dict[str, dict[str, float]]:
    """`python -m MODULE --index … --output RUN`, the tiny topics encoded by the tiny model; what the run says."""
    encoder = ["--encoder", f"tasb:{TINY_MODEL}", "--topics", TINY / "topics.tsv"]
    run_stock(module, "--index", index, *encoder, "--output", run, *options)
    return read_scores(run)


def recall(found: dict[str, dict[str, float]], exact: dict[str, dict[str, float]], depth: int) -> float:
    """Mean share of each topic's exact top that was found among as many."""
    assert found.keys() == exact.keys()
    shares = []
    for qid, scores in exact.items():
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:depth]
        hits = sorted(found[qid], key=found[qid].__getitem__, reverse=True)[:depth]
        shares.append(len(set(best) & set(hits)) / depth)
    return sum(shares) / len(shares)
