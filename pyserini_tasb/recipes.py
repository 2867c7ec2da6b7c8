"""Typed YAML recipes: encoder cards, fusion recipes and regressions, and where they are looked up."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pyserini_tasb.errors import TasbError

Kind = Literal["encoders", "fusion", "regressions"]
ENCODER_PREFIX = "tasb:"


class Recipe(BaseModel):
    """What every recipe has; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    description: str = ""


class PublishedNumber(BaseModel):
    """A number somebody published, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: str
    measure: str
    value: float
    source: str


class EncoderCard(Recipe):
    """A named encoder: which weights, and how a text becomes a vector.

    Token caps count special tokens. They hold for search and indexing; training has its own.
    """

    aliases: tuple[str, ...] = ()
    model: str
    pooling: Literal["cls", "mean"] = "cls"
    normalise: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    query_max_length: int = Field(default=512, ge=3)
    passage_max_length: int = Field(default=512, ge=3)
    backend: Literal["torch"] = "torch"
    precision: Literal["fp32", "bf16"] = "fp32"
    allow_bin: bool = False
    citation: str = ""
    published: tuple[PublishedNumber, ...] = ()


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def own_folder(kind: Kind) -> Path:
    """The recipes this package ships: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    in_wheel = package / "_data" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def user_folder(kind: Kind) -> Path:
    """The user's own recipes, which win over those the package ships."""
    home = os.environ.get("PYSERINI_TASB_HOME") or "~/.config/pyserini-tasb"
    return Path(home).expanduser() / kind


def recipe_files(kind: Kind) -> dict[str, Path]:
    """Every recipe of one kind by name, sorted; a user's file hides the package's of the same name."""
    files = {path.stem: path for folder in (own_folder(kind), user_folder(kind)) for path in folder.glob("*.yaml")}
    return dict(sorted(files.items()))


def load_recipe(path: Path, recipe: type[AnyRecipe]) -> AnyRecipe:
    """Read and check one YAML file.

    Raises:
        TasbError: no such file, not YAML, or not the recipe's schema; every fault is named with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise TasbError(
            where=str(path), expected="a recipe file", found=error.strerror or str(error), do="check the path"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise TasbError(where=where, expected="YAML", found=problem, do="mend the syntax of that line") from error
    if not isinstance(values, dict):
        raise TasbError(
            where=str(path), expected="`key: value` lines", found=type(values).__name__, do="see the folder's README.md"
        )
    try:
        return recipe.model_validate(values)
    except ValidationError as error:
        raise _schema_error(path, recipe, node, error) from None


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


def _schema_error(path: Path, recipe: type[Recipe], node: yaml.Node | None, error: ValidationError) -> TasbError:
    known = sorted(recipe.model_fields)
    found, advice = [], []
    for fault in error.errors():
        key = str(fault["loc"][0]) if fault["loc"] else ""
        line = _line_of(node, key)
        at = f"line {line}: " if line else ""
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
            found.append(f"{at}unknown key `{key}`")
            close = difflib.get_close_matches(key, known, n=1)
            advice.append(f"did you mean `{close[0]}`?" if close else f"remove `{key}`")
        elif fault["type"] == "missing":
            found.append(f"{at}no key `{'.'.join(map(str, fault['loc']))}`")
            advice.append(f"add `{key}:`")
        else:
            found.append(f"{at}`{'.'.join(map(str, fault['loc']))}`: {fault['msg'].lower()} (got {fault['input']!r})")
            advice.append(f"mend `{key}`")
    return TasbError(
        where=str(path),
        expected=f"keys of {recipe.__name__}: {', '.join(known)}",
        found="; ".join(found),
        do="; ".join(dict.fromkeys(advice)),
    )


def _line_of(node: yaml.Node | None, key: str) -> int | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, _ in node.value:
            if key_node.value == key:
                return int(key_node.start_mark.line) + 1
    return None
