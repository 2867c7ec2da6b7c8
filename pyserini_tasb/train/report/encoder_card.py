"""The encoder card of a trained model, which makes `--encoder tasb:NAME` work."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml
from pydantic import ValidationError

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.recipes import EncoderCard, encoder_card, encoder_cards, own_folder, user_folder
from pyserini_tasb.whole_file import write_whole

# Also when they are the defaults: they are what a reader looks for or changes.
SHOWN_ALWAYS = ("name", "model", "pooling", "normalise", "query_max_length", "passage_max_length")


def check_card_name(name: str, model_folder: Path) -> Path:
    """Where `write_encoder_card` will put the card. Call it before training: afterwards is late to hear of a mistake.

    Raises:
        TasbError: `name` cannot be a card's; this package ships a card of that name; the user has one, for another
            model, or one with `name` for an alias; or the user's folder cannot be written to.
    """
    _require_name(name)
    path = user_folder("encoders") / f"{name}.yaml"
    shipped = own_folder("encoders") / path.name
    if shipped.exists():
        raise _taken(name, f"the encoder of that name that comes with pyserini-tasb ({shipped})")
    if path.exists():
        model = encoder_card(str(path)).model
        if Path(model).resolve() != model_folder.resolve():
            raise _taken(name, f"the card {path}, whose model is {model}")
    for other in encoder_cards().values():
        if name in other.aliases:
            raise _taken(name, f"an alias of `tasb:{other.name}`")
    _require_writable(path.parent)
    return path


def write_encoder_card(card: EncoderCard) -> Path:
    """Write a model's card into the user's folder of encoders; return its path.

    Another goes into the model's folder, `MODEL/NAME.yaml`, and moves with it: `--encoder tasb:MODEL/NAME.yaml` works
    wherever the folder is. Cards written before for the same model are replaced.

    Args:
        card: its `model` is the folder that `save_pretrained` wrote; its token caps are those of search.

    Raises:
        TasbError: as `check_card_name`, or the disk refuses; cards that were there before still are.
    """
    folder = Path(card.model).resolve()
    path = check_card_name(card.name, folder)
    write_whole(folder / path.name, _as_yaml(card.model_copy(update={"model": "."})))
    write_whole(path, _as_yaml(card.model_copy(update={"model": str(folder)})))
    return path


def _as_yaml(card: EncoderCard) -> str:
    values = card.model_dump(mode="json")
    shown = {
        key: values[key]
        for key, field in EncoderCard.model_fields.items()
        if key in SHOWN_ALWAYS or getattr(card, key) != field.get_default()
    }
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)
    return f"# Written by `tasb train`; every key is explained in encoders/README.md of pyserini-tasb.\n{text}"


def _require_name(name: str) -> None:
    try:
        EncoderCard(name=name, model=".")
        is_name = not name.endswith((".yaml", ".yml"))  # `tasb:….yaml` is a card's path
    except ValidationError:
        is_name = False
    if not is_name:
        like = re.sub(r"\.ya?ml$", "", re.sub(r"[^a-z0-9._+-]+", "-", name.lower())).strip("._+-")
        raise TasbError(
            expected="a name of small letters, digits and any of . _ + - (first a letter or digit), not a file's",
            found=f"`{name}`",
            do=f"set `name` to something like `{like or 'my-model'}`",
        )


def _taken(name: str, by: str) -> TasbError:
    return TasbError(
        expected=f"a name without an encoder yet, for `--encoder tasb:{name}`",
        found=by,
        do="choose another `name`, or remove that card",
    )


def _require_writable(folder: Path) -> None:
    with os_errors_explained(
        folder,
        expected="a folder that an encoder card can be written to",
        do="mend the folder or its disk, or set PYSERINI_TASB_HOME to another folder",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("no permission to write there")
