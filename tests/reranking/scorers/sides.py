"""Pairs of texts of many lengths, in no order, with repetitions; and how to score them one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.formats.text_store import ListedTexts

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserini_tasb.reranking.scorers import PairScorer
    from tests.conftest import Collection


@dataclass(frozen=True)
class Sides:
    """Texts, and pairs [pairs] of their indices."""

    queries: list[str]
    passages: list[str]
    query_rows: np.ndarray
    passage_rows: np.ndarray

    def scored_by(self, scorer: PairScorer) -> np.ndarray:
        return scorer.score_pairs(
            ListedTexts(self.queries), ListedTexts(self.passages), self.query_rows, self.passage_rows
        )

    def one_by_one(self, score: Callable[[str, str], float]) -> np.ndarray:
        pairs = list(zip(self.query_rows.tolist(), self.passage_rows.tolist(), strict=True))
        seen = {pair: score(self.queries[pair[0]], self.passages[pair[1]]) for pair in set(pairs)}
        return np.array([seen[pair] for pair in pairs])


def make_sides(collection: Collection, pairs: int = 40) -> Sides:
    """The tiny collection's topics, four of its texts, a word, nothing, and one that is longer than any model reads."""
    passages = [*collection.texts[1:80:20], "lists", "", "sort merge list " * 200]
    queries = [*list(collection.topics.values())[:4], "sort", "what " * 300]
    random = np.random.default_rng(0)
    return Sides(queries, passages, random.integers(0, len(queries), pairs), random.integers(0, len(passages), pairs))
