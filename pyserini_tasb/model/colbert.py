"""ColBERT: a vector for every token, compressed; scored by `max_sim` (paper, Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.headed_checkpoint import (
    AUTHORS_TYPES,
    CONFIG,
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
HEAD_KEYS = ("compression_dim", "query_masks")  # in config.json; the authors' does not say the latter
AUTHORS_DIMENSION, AUTHORS_QUERY_MASKS = 128, 8


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


def new_colbert(
    folder: Path, *, dimension: int = AUTHORS_DIMENSION, query_masks: int = AUTHORS_QUERY_MASKS, seed: int
) -> ColBert:
    """A ColBERT that starts from a transformer's weights, with a random compressor.

    Args:
        folder: the transformer, as `find_checkpoint` gives it.
        dimension: of a token's vector.
        query_masks: as of `ColBert`.
        seed: of the compressor.

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
    model = ColBert(described_transformer(folder), *(_whole_number(config, key, folder) for key in HEAD_KEYS))
    fill(model, folder, HEAD)
    return model.to(precision).eval()


def _whole_number(config: dict[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if isinstance(value, int) and value >= 0:
        return value
    raise TasbError(
        where=str(folder / CONFIG),
        expected=f"`{key}` of a ColBERT, a whole number",
        found="no such key" if value is None else repr(value),
        do="check that config.json came with the weights",
    )


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
