"""Which encoder card a name means."""

from __future__ import annotations

import difflib
from pathlib import Path

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.folders import recipe_files
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.types import EncoderCard

ENCODER_PREFIX = "tasb:"


def encoder_card(encoder: str) -> EncoderCard:
    """The card that `--encoder ENCODER` means.

    `tasb:` in front is optional. What follows is a path of a card (`….yaml`), a card's name or alias, or a model
    (folder or hub id) without a card of its own, which is read as TAS-B: CLS vector, dot product.
    """
    wanted = encoder[len(ENCODER_PREFIX) :] if encoder.lower().startswith(ENCODER_PREFIX) else encoder
    if wanted.endswith((".yaml", ".yml")):
        return _load_card(Path(wanted).expanduser())
    cards = encoder_cards()
    if wanted.lower() in cards:
        return cards[wanted.lower()]
    for card in cards.values():
        if wanted in card.aliases:
            # An alias on the hub is the same weights under another id: load the one that was named.
            return card.model_copy(update={"model": wanted}) if "/" in wanted else card
    if "/" not in wanted and not Path(wanted).is_dir():
        close = difflib.get_close_matches(wanted.lower(), cards, n=1)
        raise TasbError(
            expected=f"the name of a card ({', '.join(cards)}), a folder, or a hub id (organisation/name)",
            found=f"`{encoder}`",
            do=f"did you mean `{ENCODER_PREFIX}{close[0]}`?" if close else "see `tasb encoders`",
        )
    return EncoderCard(name="unnamed", description="a model without a card, read as TAS-B", model=wanted)


def encoder_cards() -> dict[str, EncoderCard]:
    """Every encoder card by name."""
    return {name: _load_card(path) for name, path in recipe_files("encoders").items()}


def _load_card(path: Path) -> EncoderCard:
    card = load_recipe(path, EncoderCard)
    if card.model.startswith((".", "~")):  # relative to the card, so that a folder with both can be moved
        local = (path.parent / Path(card.model).expanduser()).resolve()
        card = card.model_copy(update={"model": str(local)})
    return card
