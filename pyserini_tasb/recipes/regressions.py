"""Which regression, topic set or pre-built archive a name means."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.folders import recipe_files
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.regression_types import Prebuilt, Regression, TopicSet

if TYPE_CHECKING:
    from pyserini_tasb.recipes.folders import Kind
    from pyserini_tasb.recipes.types import Recipe

    AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

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
    """What Pyserini has pre-built under that name, or at that path; errors as of `regression`."""
    return _named("regressions/prebuilt", name, Prebuilt)


def _named(kind: Kind, name: str, recipe: type[AnyRecipe]) -> AnyRecipe:
    return load_recipe(_file(kind, name), recipe)


def _file(kind: Kind, name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
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
