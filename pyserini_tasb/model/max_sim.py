"""ColBERT's score: for each query token its most similar passage token, summed (paper, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITIES_AT_ONCE = 2**26  # a batch of 4,096 has 2e11, which is 0.8 TB
RELEASED_FILL = -1_000.0


def max_sim(
    query_vectors: Tensor,
    query_mask: Tensor,
    passage_vectors: Tensor,
    passage_mask: Tensor,
    *,
    released_masking: bool = False,
    similarities_at_once: int = SIMILARITIES_AT_ONCE,
) -> Tensor:
    """Scores [b, n] of every query with every passage, in fp32 (fp64 of fp64 vectors).

    Only scores are kept: the similarities of tokens are computed and maximised chunk by chunk.

    Args:
        query_vectors: [b, query tokens, dimension].
        query_mask: [b, query tokens], true or 1 where there is a token.
        passage_vectors: [n, passage tokens, dimension].
        passage_mask: [n, passage tokens]; every passage has a token.
        released_masking: hide tokens of passage j by the mask of passage i, as the authors' code does in batch, so
            that only the diagonal is right; to repeat their results. Needs b = n.
        similarities_at_once: of tokens, at most this many in memory (more if one query and one passage have more).

    Raises:
        ValueError: shapes that do not fit.
    """
    _require_shapes(query_vectors, query_mask, passage_vectors, passage_mask)
    b, query_tokens = query_mask.shape
    n, passage_tokens = passage_mask.shape
    if released_masking and b != n:
        raise ValueError(f"expected as many passages as queries for the released masking, found {n} and {b}")
    precision = torch.float64 if query_vectors.dtype == torch.float64 else torch.float32
    queries, passages = query_vectors.to(precision), passage_vectors.to(precision)
    of_query, of_passage = query_mask.bool(), passage_mask.bool()

    rows = min(b, max(1, similarities_at_once // (query_tokens * passage_tokens)))
    columns = max(1, similarities_at_once // (rows * query_tokens * passage_tokens))
    scores = []
    # Autocast would compute the similarities in half precision.
    with torch.autocast(queries.device.type, enabled=False):
        for row in range(0, b, rows):
            those = slice(row, row + rows)
            chunks = [
                _chunk(
                    queries[those],
                    of_query[those],
                    passages[column : column + columns],
                    # Masks broadcast to [queries, 1, passages, passage tokens].
                    of_passage[those, None, None, :] if released_masking else of_passage[column : column + columns],
                    RELEASED_FILL if released_masking else -float("inf"),
                )
                for column in range(0, n, columns)
            ]
            scores.append(torch.cat(chunks, dim=1))
    return torch.cat(scores)


def max_sim_of_pairs(
    query_vectors: Tensor, query_mask: Tensor, passage_vectors: Tensor, passage_mask: Tensor
) -> Tensor:
    """Scores [n] of query i with passage i, in fp32 (fp64 of fp64 vectors): the diagonal of `max_sim`.

    Args:
        query_vectors: [n, query tokens, dimension].
        query_mask: [n, query tokens], true or 1 where there is a token.
        passage_vectors: [n, passage tokens, dimension].
        passage_mask: [n, passage tokens]; every passage has a token.

    Raises:
        ValueError: shapes that do not fit.
    """
    _require_shapes(query_vectors, query_mask, passage_vectors, passage_mask)
    if len(query_vectors) != len(passage_vectors):
        raise ValueError(f"expected a passage for each of {len(query_vectors)} queries, found {len(passage_vectors)}")
    precision = torch.float64 if query_vectors.dtype == torch.float64 else torch.float32
    with torch.autocast(query_vectors.device.type, enabled=False):
        similarities = torch.bmm(query_vectors.to(precision), passage_vectors.to(precision).transpose(1, 2))
        best = similarities.masked_fill(~passage_mask.bool()[:, None, :], -float("inf")).max(dim=2).values
        return torch.where(query_mask.bool(), best, 0.0).sum(dim=1)


def _chunk(queries: Tensor, of_query: Tensor, passages: Tensor, of_passage: Tensor, fill: float) -> Tensor:
    """Scores [queries, passages] of a part."""
    similarities = torch.einsum("qtd,psd->qtps", queries, passages)
    best = similarities.masked_fill(~of_passage, fill).max(dim=3).values
    # Chosen rather than multiplied: what a padded query token finds may be anything.
    return torch.where(of_query[:, :, None], best, 0.0).sum(dim=1)


def _require_shapes(query_vectors: Tensor, query_mask: Tensor, passage_vectors: Tensor, passage_mask: Tensor) -> None:
    fits = (
        query_vectors.ndim == passage_vectors.ndim == 3
        and query_vectors.shape[:2] == query_mask.shape
        and passage_vectors.shape[:2] == passage_mask.shape
        and query_vectors.shape[2] == passage_vectors.shape[2]
    )
    if not fits:
        shapes = [tuple(t.shape) for t in (query_vectors, query_mask, passage_vectors, passage_mask)]
        raise ValueError(f"expected vectors [texts, tokens, dimension] with masks [texts, tokens], found {shapes}")
