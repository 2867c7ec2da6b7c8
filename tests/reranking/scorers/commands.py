"""`tasb score` in this process, and a scorer that is watched."""

from __future__ import annotations

from tests.command_line import tasb_raising
from tests.conftest import TINY, TINY_MODEL

WINDOW, ROWS_AT_ONCE = 16, 20
TEXTS = ("--corpus", TINY / "corpus.jsonl", "--topics", TINY / "topics.tsv")


class WatchedScorer:
    """A scorer that notes what it scores, and can be interrupted before a call."""

    def __init__(self, scorer, interrupted_at=None):
        self._scorer, self._interrupted_at = scorer, interrupted_at
        self.calls = []

    def score_pairs(self, queries, passages, query_rows, passage_rows):
        if len(self.calls) + 1 == self._interrupted_at:
            raise KeyboardInterrupt
        self.calls.append(list(zip(passage_rows.tolist(), query_rows.tolist(), strict=True)))
        return self._scorer.score_pairs(queries, passages, query_rows, passage_rows)

    @property
    def pairs(self):
        return [pair for call in self.calls for pair in call]


def options_of(output, pairs, model=TINY_MODEL):
    return ["--output", output, "--model", model, "--pairs", pairs, *TEXTS, "--device", "cpu"]


def tasb_score(output, pairs, *options, model=TINY_MODEL):
    """What is given twice counts the second time."""
    return tasb_raising("score", *options_of(output, pairs, model), *options)


def written(path, rows, columns=""):
    path.write_text("".join(columns + "\t".join(row) + "\n" for row in rows))
    return path
