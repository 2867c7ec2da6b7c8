"""A run over the tiny collection, and the tiny model as each of the kinds that score pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.command_line import tasb_raising
from tests.conftest import TINY, TINY_MODEL
from tests.reranking.models import MAKERS

if TYPE_CHECKING:
    from pathlib import Path

DEPTH = 5


@dataclass(frozen=True)
class Job:
    """The arguments of `tasb rerank`."""

    run: Path
    output: Path
    model: Path = TINY_MODEL
    topics: Path = TINY / "topics.tsv"
    corpus: Path = TINY / "corpus.jsonl"
    depth: int = DEPTH
    more: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        named = ("run", "output", "model", "topics", "corpus", "depth")
        pairs = ((f"--{name}", str(getattr(self, name))) for name in named)
        return ["rerank", *(argument for pair in pairs for argument in pair), "--device", "cpu", *self.more]

    def but(self, *more: str, **changes: object) -> Job:
        return replace(self, more=more, **changes)

    def __call__(self) -> Path:
        assert tasb_raising(*self.arguments) == 0
        return self.output


@pytest.fixture(scope="session")
def ranking(collection) -> dict[str, dict[str, float]]:
    """All queries, in no order, each with 8 passages; of the fourth to the seventh the scores are the same."""
    randomness = random.Random(7)
    qids = randomness.sample(list(collection.topics), len(collection.topics))
    scores = [9.5, 8.0, 7.25, 3.0, 3.0, 3.0, 3.0, 1.0]
    return {qid: dict(zip(randomness.sample(collection.docids, 8), scores, strict=True)) for qid in qids}


@pytest.fixture
def job(ranking, tmp_path) -> Job:
    randomness = random.Random(8)
    lines = []
    for qid, scores in ranking.items():
        of_query = [f"{qid} Q0 {docid} 0 {score} first\n" for docid, score in scores.items()]
        lines += randomness.sample(of_query, len(of_query))
    (tmp_path / "first.run").write_text("".join(lines))
    return Job(tmp_path / "first.run", tmp_path / "second.run")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: make(folder / kind) for kind, make in MAKERS.items()}
