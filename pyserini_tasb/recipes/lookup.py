"""Lookup of recipes by name: encoder cards, fusion recipes, regressions, topic sets, pre-built archives."""

from __future__ import annotations

import difflib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pyserini_tasb.errors import TasbError
from pyserini_tasb.folders import at_home, is_folder, missing_folder
from pyserini_tasb.parsing import read_yaml
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.types import EncoderCard, FusionRecipe, Prebuilt, Recipe, Regression, TopicSet
from pyserini_tasb.registry import files_of_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


Kind = Literal["encoders", "fusion", "regressions", "regressions/topics", "regressions/prebuilt"]
SCHEMAS: dict[Kind, type[Recipe]] = {
    "encoders": EncoderCard,
    "fusion": FusionRecipe,
    "regressions": Regression,
    "regressions/topics": TopicSet,
    "regressions/prebuilt": Prebuilt,
}


def own_folder(kind: Kind) -> Path:
    """The recipes this package ships: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    in_wheel = package / "_data" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def user_folder(kind: Kind) -> Path:
    """The user's own recipes, which win over those the package ships."""
    home = os.environ.get("PYSERINI_TASB_HOME") or "~/.config/pyserini-tasb"
    return at_home(home) / kind


def recipe_files(kind: Kind) -> dict[str, Path]:
    """Every recipe of one kind by name, sorted; a user's file hides the package's of the same name.

    Files that are hidden, such as an editor's copies, are no recipes.
    """
    files = {path.stem: path for folder in (own_folder(kind), user_folder(kind)) for path in folder.glob("[!.]*.yaml")}
    return dict(sorted(files.items()))


ENCODER_PREFIX = "tasb:"


def encoder_card(encoder: str) -> EncoderCard:
    """The card that `--encoder ENCODER` means.

    `tasb:` in front is optional. What follows is a path of a card (`….yaml`), a card's name or alias, or a model
    (folder or hub id) without a card of its own, which is read as TAS-B: CLS vector, dot product.
    """
    wanted = encoder[len(ENCODER_PREFIX) :] if encoder.lower().startswith(ENCODER_PREFIX) else encoder
    if wanted.endswith((".yaml", ".yml")):
        return _load_card(at_home(wanted))
    files = recipe_files("encoders")
    if wanted.lower() in files:
        return _load_card(files[wanted.lower()])
    cards = encoder_cards()
    for card in cards.values():
        if wanted in card.aliases:
            # An alias on the hub is the same weights under another id: load the one that was named.
            return card.model_copy(update={"model": wanted}) if "/" in wanted else card
    if "/" not in wanted and not is_folder(Path(wanted)):
        close = difflib.get_close_matches(wanted.lower(), files, n=1)
        meant = f"did you mean `{ENCODER_PREFIX}{close[0]}`?" if close else missing_folder(Path(wanted))[1]
        raise TasbError(
            expected=f"the name of a card ({', '.join(files)}), a folder, or a hub id (organisation/name)",
            found=f"`{encoder}`",
            do=meant or "see `tasb list encoders`",
        )
    return EncoderCard(name="unnamed", description="a model without a card, read as TAS-B", model=wanted)


def encoder_cards() -> dict[str, EncoderCard]:
    """Every encoder card by name, but those with a fault: a broken card affects only itself."""
    return {name: card for name, card in recipes("encoders").items() if isinstance(card, EncoderCard)}


def recipes(kind: Kind) -> dict[str, Recipe | TasbError]:
    """Every recipe of one kind by name, sorted; in the place of a broken one, its fault."""
    found: dict[str, Recipe | TasbError] = {}
    for name, path in recipe_files(kind).items():
        try:
            found[name] = _load_card(path) if kind == "encoders" else load_recipe(path, SCHEMAS[kind])
        except TasbError as fault:
            found[name] = fault
    return found


def broken_recipes() -> list[tuple[str, Path, TasbError]]:
    """Each recipe that cannot be used, of all kinds: kind and name (`fusion/mine`), file and fault."""
    return [
        (f"{kind}/{name}", recipe_files(kind)[name], fault)
        for kind in SCHEMAS
        for name, fault in recipes(kind).items()
        if isinstance(fault, TasbError)
    ]


def default_tag(model: str) -> str:
    """The tag of a run: the model's name without white space; of a path, its last part."""
    path = at_home(model.removeprefix(ENCODER_PREFIX))
    name = path.resolve().name.removesuffix(".yaml") if path.exists() else model
    return "_".join(name.split())


def _load_card(path: Path) -> EncoderCard:
    with files_of_others() if _comes_with_weights(path.resolve()) else nullcontext():
        card = load_recipe(path, EncoderCard)
    if card.model.startswith((".", "~")):  # relative to the card, so that a folder with both can be moved
        local = (path.parent / at_home(card.model)).resolve()
        card = card.model_copy(update={"model": str(local)})
    return card


def _comes_with_weights(path: Path) -> bool:
    """True if somebody else may have written a card: it lies beside weights, or names them by a relative path."""
    if any(path.is_relative_to(folder("encoders").resolve()) for folder in (own_folder, user_folder)):
        return False
    if (path.parent / "config.json").is_file():
        return True
    try:
        model = read_yaml(path)[0].get("model")
    except TasbError:  # reading it as a card says what is wrong
        return False
    return isinstance(model, str) and model.startswith(".")


def fusion_recipe(name: str, overrides: Sequence[str] = ()) -> FusionRecipe:
    """The recipe of that name, or at that path (`….yaml`).

    Args:
        name: e.g. `tasb+bm25`.
        overrides: `key=value` or `section.key=value`, each in place of a value of the file.

    Raises:
        TasbError: no such recipe, or a faulty one.
    """
    if name.endswith((".yaml", ".yml")):
        return load_recipe(at_home(name), FusionRecipe, overrides)
    files = recipe_files("fusion")
    if name not in files:
        close = difflib.get_close_matches(name.lower(), files, n=1, cutoff=0.5)
        raise TasbError(
            expected=f"a fusion recipe ({', '.join(files)}), or the path of one (….yaml)",
            found=f"`{name}`",
            do=f"did you mean `{close[0]}`?" if close else "choose one of them",
        )
    return load_recipe(files[name], FusionRecipe, overrides)


NAMES_SHOWN = 12


def regression(name: str) -> Regression:
    """The regression of that name, or at that path (`….yaml`).

    Raises:
        TasbError: no such regression, or a faulty one.
    """
    return _named("regressions", name, Regression)


def regression_file(name: str) -> Path:
    """The file of the regression of that name, or at that path; raises the errors of `regression`."""
    return _file("regressions", name)


def topic_set(name: str) -> TopicSet:
    """The topic set of that name, or at that path; errors as of `regression`."""
    return _named("regressions/topics", name, TopicSet)


def prebuilt(name: str) -> Prebuilt:
    """The archive that Pyserini has pre-built, by its name, or by a path; errors as of `regression`."""
    return _named("regressions/prebuilt", name, Prebuilt)


def _named(kind: Kind, name: str, recipe: type[AnyRecipe]) -> AnyRecipe:
    return load_recipe(_file(kind, name), recipe)


def _file(kind: Kind, name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return at_home(name)
    files = recipe_files(kind)
    if name not in files:
        shown = [*files][:NAMES_SHOWN] + (["…"] if len(files) > NAMES_SHOWN else [])
        close = difflib.get_close_matches(name.lower(), files, n=1, cutoff=0.5)
        raise TasbError(
            expected=f"a name of {kind}/ ({', '.join(shown)}), or the path of such a file (….yaml)",
            found=f"`{name}`",
            do=f"did you mean `{close[0]}`?" if close else "choose one of them",
        )
    return files[name]
