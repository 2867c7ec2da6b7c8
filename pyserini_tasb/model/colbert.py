"""ColBERT: a vector for every token, compressed; scored by `max_sim` (paper, Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.model.headed_checkpoint import (
    AUTHORS_TYPES,
    described_transformer,
    fill,
    read_config,
    save,
    starting_transformer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ARCHITECTURE = "ColBERT"
HEAD = {"compressor.weight": "compressor.weight", "compressor.bias": "compressor.bias"}
AUTHORS_QUERY_MASKS = 8


class ColBert(torch.nn.Module):
    """A late-interaction model.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`.
        dimension: of a token's vector.
        query_masks: [MASK] tokens that every query gets before its last token, to be filled with what it may also mean.
    """

    def __init__(self, transformer: Any, dimension: int, query_masks: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.compressor = torch.nn.Linear(transformer.config.hidden_size, dimension)
        self.query_masks = query_masks

    @property
    def dimension(self) -> int:
        """Of a token's vector."""
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


def new_colbert(folder: Path, *, dimension: int, query_masks: int = AUTHORS_QUERY_MASKS, seed: int) -> ColBert:
    """A ColBERT that starts from a transformer's weights, with a random compressor.

    Args:
        folder: the transformer.
        dimension: of a token's vector.
        query_masks: as of `ColBert`.
        seed: of the compressor.
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
        TasbError: the weights are not those of the model that config.json describes.
    """
    config = read_config(folder)
    masks = AUTHORS_QUERY_MASKS if config.get("model_type") in AUTHORS_TYPES else int(config.get("query_masks", 0))
    model = ColBert(described_transformer(folder), int(config["compression_dim"]), masks)
    fill(model, folder, HEAD)
    return model.to(precision).eval()


def save_colbert(folder: Path, model: ColBert) -> None:
    """Write config.json and model.safetensors into an existing folder."""
    save(
        folder,
        model,
        HEAD,
        architecture=ARCHITECTURE,
        compression_dim=model.dimension,
        query_masks=model.query_masks,
    )
