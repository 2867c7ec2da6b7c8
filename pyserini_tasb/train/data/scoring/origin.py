"""What scores are made of, so that no file ever holds scores of two models, or of other texts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from pyserini_tasb.score.pair_scorer import ScoringOptions

Origin: TypeAlias = dict[str, dict[str, str]]
"""model, collection, queries, pairs, options → `name`, as people call it, and `digest`, which says what it holds."""

TEXTS = ("collection", "queries")


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
