"""ColBERT: a compressed vector for every token, and the score by each query token's best match (paper, Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyserini_tasb.errors import TasbError, shown
from pyserini_tasb.models.checkpoints import COLBERT, CONFIG, load_errors_explained, read_config
from pyserini_tasb.models.headed_checkpoint import (
    AUTHORS_TYPES,
    described_transformer,
    fill,
    save,
    starting_transformer,
)
from pyserini_tasb.models.pretrained import require_computing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


HEAD = {"compressor.weight": "compressor.weight", "compressor.bias": "compressor.bias"}
HEAD_KEYS = ("compression_dim", "query_masks")  # in config.json; the authors' does not say the latter
AUTHORS_DIMENSION, AUTHORS_QUERY_MASKS = 128, 8
SIMILARITIES_AT_ONCE = 2**26  # a batch of 4,096 has 2e11, which is 0.8 TB
RELEASED_FILL = -1_000.0


class ColBert(torch.nn.Module):
    """A late-interaction model.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`.
        dimension: the dimension of a token's vector.
        query_masks: [MASK] tokens that every query gets before its last token, to be filled with what it may also mean.
    """

    def __init__(self, transformer: Any, dimension: int, query_masks: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.compressor = torch.nn.Linear(transformer.config.hidden_size, dimension)
        self.query_masks = query_masks

    @property
    def dimension(self) -> int:
        """Numbers of a token's vector."""
        return self.compressor.out_features

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors [texts, tokens, dimension], from token ids and mask [texts, tokens]."""
        tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: torch.Tensor = self.compressor(tokens)
        return vectors

    def with_masks(self, query_tokens: Sequence[int], mask_id: int) -> list[int]:
        """A query's token ids with the [MASK] tokens."""
        *before, last = query_tokens
        return [*before, *[mask_id] * self.query_masks, last]


def new_colbert(
    folder: Path, *, dimension: int = AUTHORS_DIMENSION, query_masks: int = AUTHORS_QUERY_MASKS, seed: int
) -> ColBert:
    """A ColBERT that starts from a transformer's weights, with a random compressor.

    Args:
        folder: the transformer, as `find_checkpoint` gives it.
        dimension: the dimension of a token's vector.
        query_masks: see `ColBert`.
        seed: the seed of the compressor.

    Raises:
        TasbError: the folder's weights do not fill the model that its config.json describes.
    """
    model = ColBert(starting_transformer(folder), dimension, query_masks)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Of this width, dot products keep their size on the average: E|Wx|² = |x|² for random rows.
        model.compressor.weight.normal_(std=dimension**-0.5, generator=generator)
        model.compressor.bias.zero_()
    return model


def load_colbert(folder: Path, precision: torch.dtype = torch.float32) -> ColBert:
    """Load a ColBERT's folder for inference.

    Raises:
        TasbError: the weights are not those of the model that config.json describes, or it does not describe one.
    """
    config = read_config(folder)
    if config.get("model_type") in AUTHORS_TYPES:
        config = {"query_masks": AUTHORS_QUERY_MASKS} | config
    with load_errors_explained(folder):
        model = ColBert(described_transformer(folder), *(_whole_number(config, key, folder) for key in HEAD_KEYS))
    fill(model, folder, HEAD)
    require_computing(model.transformer.eval(), folder)
    return model.to(precision).eval()


LARGEST = 65_536  # dimensions or masks: many times what anybody has trained


def _whole_number(config: dict[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if isinstance(value, int) and 0 <= value <= LARGEST:
        return value
    raise TasbError(
        where=str(folder / CONFIG),
        expected=f"`{key}` of a ColBERT, a whole number up to {LARGEST:,}",
        found="no such key" if value is None else shown(value),
        do="check that config.json came with the weights",
    )


def save_colbert(folder: Path, model: ColBert) -> None:
    """Write config.json and model.safetensors into an existing folder."""
    save(
        folder,
        model,
        HEAD,
        architecture=COLBERT,
        compression_dim=model.dimension,
        query_masks=model.query_masks,
    )


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
        similarities_at_once: the most similarities of tokens in memory (more if one query and one passage have more).

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
