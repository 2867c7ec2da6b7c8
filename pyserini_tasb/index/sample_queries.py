"""The queries that a new index is measured with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.index.vector_source import sampled_rows
from pyserini_tasb.index_manifest import require_among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.encode import TasbQueryEncoder
    from pyserini_tasb.index.vector_source import VectorSource
    from pyserini_tasb.index_manifest import EncoderIdentity

FROM_TOPICS, FROM_VECTORS = 1_000, 200


def sample_queries(
    source: VectorSource,
    encoders: Sequence[EncoderIdentity],
    topics: str | None,
    encoder: str | None,
    seed: int,
) -> tuple[NDArray[np.float32], str]:
    """Vectors [queries, dimension], and what they are in words.

    Args:
        source: the vectors that are indexed.
        encoders: that belong to them.
        topics: a name or path; without, passages' own vectors take the place of queries.
        encoder: of the topics.
        seed: of what is drawn, where there are more than are needed.

    Raises:
        TasbError: one of topics and encoder without the other, no such thing, vectors of another dimension, or an
            encoder that does not belong to the vectors.
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
    query_encoder = open_query_encoder(encoder, source, "--encoder")
    if encoders and query_encoder.identity is not None:
        require_among(encoders, asdict(query_encoder.identity), encoder, "--encoder")
    return query_encoder.encode_batch(texts), f"{len(texts)} queries of {topics}, encoded by {encoder}"


def open_query_encoder(name: str, source: VectorSource, option: str) -> TasbQueryEncoder:
    """An encoder whose vectors are as long as those to index.

    Args:
        name: what `--encoder` takes.
        source: the vectors that are indexed.
        option: that names it, for messages.

    Raises:
        TasbError: no such encoder, or it makes vectors of another dimension.
    """
    from pyserini_tasb.encode import TasbQueryEncoder  # imports torch

    encoder = TasbQueryEncoder(name)
    if encoder.dimension != source.dimension:
        raise TasbError(
            where=f"{option} {name}",
            expected=f"vectors of {source.dimension} dimensions, as those to index",
            found=f"{encoder.dimension} dimensions",
            do="name the encoder that made the vectors",
        )
    return encoder
