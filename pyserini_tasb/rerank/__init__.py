"""Re-ranking: the top of a run, scored again by any model that scores pairs.

from pyserini_tasb.rerank import rerank

for query in rerank(run, topics, passages, load_scorer("tasb"), depth=100):
    query.docids, query.scores, query.seconds
"""

from __future__ import annotations

from pyserini_tasb.rerank.reranking import RerankedQuery, rerank

__all__ = ["RerankedQuery", "rerank"]
