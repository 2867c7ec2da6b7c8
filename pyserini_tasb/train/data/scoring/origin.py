"""What scores are made of, so that no file ever holds scores of two models, or of other texts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import torch

from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from pyserini_tasb.score.pair_scorer import ScoringOptions

Origin: TypeAlias = dict[str, dict[str, str]]
"""model, collection, queries, pairs, options → `name`, as people call it, and `digest`, which says what it holds."""

# What a card says that no score depends on. The rest it depends on, or may in a later version.
NOT_OF_SCORES = {"name", "description", "aliases", "model", "allow_bin", "citation", "published"}
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}
TEXTS = ("collection", "queries")


def model_origin(model: str, *, allow_bin: bool = False) -> dict[str, str]:
    """A model by the content of its files, and by how its card uses it; its folder may have moved.

    Args:
        model: what `load_scorer` takes.
        allow_bin: see there.

    Raises:
        TasbError: no such model.
    """
    card = encoder_card(model)
    folder = find_checkpoint(card.model, allow_bin=allow_bin or card.allow_bin)
    digest = hashlib.sha256(card.model_dump_json(exclude=NOT_OF_SCORES).encode())
    for file in sorted(folder.iterdir()):
        if file.suffix in MODEL_FILES and file.is_file():
            with file.open("rb") as opened:
                digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return {"name": f"`{model}`", "digest": digest.hexdigest()}


def options_origin(options: ScoringOptions, pairs_per_window: int) -> dict[str, str]:
    """How the scores are computed. Which CPU or GPU it is does not count, nor the versions of libraries."""
    chosen = {
        "--query-max-length": options.query_max_length,
        "--max-length": options.max_length,
        "--precision": options.precision,
        "--device": torch.device(options.found_device).type,
        "pairs per window": pairs_per_window,
    }
    name = ", ".join(f"{option} {value}" for option, value in chosen.items() if value is not None)
    return {"name": name, "digest": hashlib.sha256(name.encode()).hexdigest()}


def differences(now: Origin, then: Origin) -> tuple[list[str], list[str]]:
    """What differs, as it is now and as it was then; nothing if the scores are of one making.

    Args:
        now: of the scores that are asked for.
        then: of those that are there.
    """
    found = [what for what in now if then[what]["digest"] != now[what]["digest"]]
    if set(found) & set(TEXTS):
        # Pairs are known by the numbers of their texts: of other texts they say nothing.
        found = [what for what in found if what != "pairs"]
    before = []
    for what in found:
        changed = ", which has changed since" if then[what]["name"] == now[what]["name"] else ""
        before.append(f"{what} {then[what]['name']}{changed}")
    return [f"{what} {now[what]['name']}" for what in found], before
