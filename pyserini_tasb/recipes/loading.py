"""Reading of one recipe, with an error for every fault."""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pyserini_tasb.errors import TasbError, shown
from pyserini_tasb.parsing import read_yaml, yaml_value
from pyserini_tasb.recipes.types import Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyserini_tasb.results import StrPath


AnyRecipe = TypeVar("AnyRecipe", bound=Strict)
Location = tuple[str | int, ...]
FAULTS_SHOWN = 20


def as_recipe(
    given: AnyRecipe | Mapping[str, Any] | StrPath, recipe: type[AnyRecipe], settings: Sequence[str] = ()
) -> AnyRecipe:
    """A recipe from what a caller has: the recipe, a dict of the same keys, or the path of a YAML file.

    Args:
        given: the recipe. Values of a dict may be paths, and results of verbs, which stand for their paths.
        recipe: the schema it must fit.
        settings: `key=value` or `section.key=value`, each over what is given; the value is read as YAML.

    Raises:
        TasbError: no such file, not YAML, or not the recipe's schema; every fault is named.
    """
    if isinstance(given, recipe) and not settings:
        return given
    if isinstance(given, Strict):
        given = given.model_dump(mode="json", exclude_unset=True)
    if isinstance(given, Mapping):
        return _checked(_with_plain_paths(given), recipe, settings)
    return load_recipe(Path(given), recipe, settings)


def load_recipe(path: Path, recipe: type[AnyRecipe], overrides: Sequence[str] = ()) -> AnyRecipe:
    """Read and check one YAML file.

    Args:
        path: the file.
        recipe: the schema it must fit.
        overrides: `key=value` or `section.key=value`, each over what the file says; the value is read as YAML.

    Raises:
        TasbError: no such file, not YAML, or not the recipe's schema; every fault is named with its line.
    """
    values, node = read_yaml(path)
    return _checked(values, recipe, overrides, str(path), node)


def _checked(
    values: dict[str, Any],
    recipe: type[AnyRecipe],
    overrides: Sequence[str],
    where: str | None = None,
    node: yaml.Node | None = None,
) -> AnyRecipe:
    for override in overrides:
        _apply(override, values)
    try:
        return recipe.model_validate(values)
    except ValidationError as error:
        set_apart = {override.partition("=")[0] for override in overrides}
        raise _schema_error(where, recipe, node, error, set_apart) from None


def _with_plain_paths(value: Any) -> Any:
    """A copy in which whatever stands for a path is that path, as it would be in YAML."""
    if isinstance(value, Mapping):
        return {key: _with_plain_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_plain_paths(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def line_finder(path: Path) -> Callable[..., int | None]:
    """A function that gives the line of a key of a YAML file, or of the innermost part of its location that exists."""
    _, node = read_yaml(path)
    return lambda *location: _line_at(node, location)


def set_key(values: dict[str, Any], location: str, value: Any) -> None:
    """Set `key` or `section.key`; sections that are not there are made."""
    *sections, key = location.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        values = inner if isinstance(inner, dict) else {}  # what stands there is faulty: the schema will say so
    values[key] = value


def _apply(override: str, values: dict[str, Any]) -> None:
    location, equals, text = override.partition("=")
    found = f"`{override}`"
    if equals and all(location.split(".")):
        try:
            value = yaml_value(text)
        except TasbError as error:
            found += f": {error.found}"
        else:
            set_key(values, location, value)
            return
    raise TasbError(
        expected="key=value or section.key=value, the value as YAML",
        found=found,
        do="write it like `batch_size=96` or `optimiser.learning_rate=2.0e-5`",
    )


def _schema_error(
    where: str | None, recipe: type[Strict], node: yaml.Node | None, error: ValidationError, set_apart: set[str]
) -> TasbError:
    """The faults that pydantic found.

    Args:
        where: the file.
        recipe: the schema.
        node: the file's nodes, which know their lines.
        error: pydantic's.
        set_apart: locations whose values stand in no line of the file, as the caller has set them.
    """
    found, advice = [], []
    faults = error.errors()
    for fault in faults[:FAULTS_SHOWN]:
        location: Location = fault["loc"]
        name = ".".join(map(str, location))
        beside = any(name == each or name.startswith(f"{each}.") for each in set_apart)
        line = None if beside else _line_at(node, location)
        at = f"line {line}: " if line else ""
        known = _known_keys(recipe, location[:-1])
        if fault["type"] == "extra_forbidden" and known:
            found.append(f"{at}unknown key `{name}`")
            advice.append(_nearest(location, known, recipe))
        elif fault["type"] == "missing":
            found.append(f"{at}no key `{name}`")
            advice.append(f"add `{name}:`")
        else:
            # Our own checks say what they found, and pydantic's what was given.
            ours = fault.get("ctx", {}).get("error")
            message = "should be a path" if fault["type"] == "path_type" else fault["msg"]
            said = f"{message[:1].lower()}{message[1:]} (got {shown(fault['input'])})" if ours is None else str(ours)
            set_beside = " (set beside the file)" if beside and node else ""
            found.append(f"{at}`{name}`{set_beside}: {said}" if name else f"{at}{said}")
            advice.append(f"fix `{name}`" if name else "change one of these keys")
    of_keys = any(fault["type"] in ("extra_forbidden", "missing") for fault in faults)
    keys = f"keys of {recipe.__name__}: {', '.join(sorted(recipe.model_fields))}"
    return TasbError(
        where=where,
        expected=keys if of_keys else f"values that the keys of {recipe.__name__} can have",
        found="; ".join(found) + (f"; … and {len(faults) - len(found)} more" if len(faults) > len(found) else ""),
        do="; ".join(dict.fromkeys(advice)),
    )


def _nearest(location: Location, known: list[str], recipe: type[Strict]) -> str:
    """A guess at what an unknown key was meant for: the same key in another section, or a sibling of similar name."""
    key = str(location[-1])
    elsewhere = {
        inner: f"{section}.{inner}" for section in recipe.model_fields for inner in _known_keys(recipe, (section,))
    }
    here = {each: ".".join(map(str, (*location[:-1], each))) for each in known}
    for names in (elsewhere, here):
        if key in names:
            return f"did you mean `{names[key]}`?"
    for names in (here, elsewhere):
        for near in difflib.get_close_matches(key, names, n=1):
            return f"did you mean `{names[near]}`?"
    return f"remove `{'.'.join(map(str, location))}`"


def _known_keys(recipe: type[BaseModel], location: Location) -> list[str]:
    """The keys that are allowed at `location`; empty if it is not a section."""
    model: type[BaseModel] | None = recipe
    for part in location:
        if model is None:
            return []
        if isinstance(part, str):
            field = model.model_fields.get(part)
            model = _section_in(field.annotation) if field else None
    return sorted(model.model_fields) if model else []


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, typing.get_args(annotation))), None)


def _line_at(node: yaml.Node | None, location: Location) -> int | None:
    """The line of the innermost part of `location` that the file has."""
    line: int | None = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((key, value) for key, value in node.value if key.value == part), None)
            if match is None:
                break
            line, node = int(match[0].start_mark.line) + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
    return line
