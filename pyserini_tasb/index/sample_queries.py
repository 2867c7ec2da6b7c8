"""The queries that a new index is measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.index.vector_source import sampled_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.index.vector_source import VectorSource

FROM_TOPICS, FROM_VECTORS = 1_000, 200


def sample_queries(
    source: VectorSource, topics: str | None, encoder: str | None, seed: int
) -> tuple[NDArray[np.float32], str]:
    """Vectors [queries, dimension], and what they are in words.

    Args:
        source: the vectors that are indexed.
        topics: a name or path; without, passages' own vectors take the place of queries.
        encoder: of the topics.
        seed: of what is drawn, where there are more than are needed.

    Raises:
        TasbError: one of topics and encoder without the other, no such thing, or vectors of another dimension.
    """
    if topics is None and encoder is None:
        vectors = sampled_rows(source, FROM_VECTORS, seed)
        return vectors, f"{len(vectors)} vectors of the collection, drawn at random (no --queries given)"
    if topics is None or encoder is None:
        raise TasbError(
            expected="--queries and --encoder together",
            found="--queries alone" if encoder is None else "--encoder alone",
            do="give both, or neither: then vectors of the collection are the queries",
        )
    texts = list(load_topics(topics).values())
    if len(texts) > FROM_TOPICS:
        texts = np.random.default_rng(seed).choice(texts, FROM_TOPICS, replace=False).tolist()
    from pyserini_tasb.encode import TasbQueryEncoder  # imports torch

    query_encoder = TasbQueryEncoder(encoder)
    if query_encoder.dimension != source.dimension:
        raise TasbError(
            where=f"--encoder {encoder}",
            expected=f"vectors of {source.dimension} dimensions, as those to index",
            found=f"{query_encoder.dimension} dimensions",
            do="name the encoder that made the vectors",
        )
    return query_encoder.encode_batch(texts), f"{len(texts)} queries of {topics}, encoded by {encoder}"
