"""What a model's numbers depend on, in a digest: so that no file ever holds numbers of two models."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from pathlib import Path

# What a card says that no number depends on. The rest it depends on, or may in a later version.
NOT_OF_NUMBERS = {"name", "description", "aliases", "model", "allow_bin", "citation", "published"}
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin", ".onnx"}


def model_digest(model: str, *, allow_bin: bool = False) -> str:
    """A digest of how a model's card uses it, and of its configuration, tokenizer and weights; reads all of them.

    The folder may have moved; library versions and hardware do not count.

    Args:
        model: what `--encoder` or `--model` takes.
        allow_bin: accept weights in `pytorch_model.bin`.

    Raises:
        TasbError: no such model.
    """
    card = encoder_card(model)
    digest = hashlib.sha256(card.model_dump_json(exclude=NOT_OF_NUMBERS).encode())
    _add_files(digest, find_checkpoint(card.model, allow_bin=allow_bin or card.allow_bin))
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """A digest of a model folder's configuration, tokenizer and weights; reads all of them."""
    digest = hashlib.sha256()
    _add_files(digest, folder)
    return digest.hexdigest()


def _add_files(digest: hashlib._Hash, folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        if file.suffix in MODEL_FILES and file.is_file():
            with file.open("rb") as opened:
                digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
