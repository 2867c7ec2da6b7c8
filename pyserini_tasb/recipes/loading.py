"""Read one recipe, and say what is wrong with it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import ValidationError

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.types import Recipe

if TYPE_CHECKING:
    from pathlib import Path

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


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
