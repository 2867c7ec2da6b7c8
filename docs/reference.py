"""The pages that nobody types: what the parser, the docstrings, the registries and the pydantic models say.

Nothing here imports torch or starts Java, so the site is built where neither is installed.
"""

from __future__ import annotations

import argparse
import ast
import datetime as dt
import functools
import inspect
import re
import textwrap
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import griffe
import yaml
from pydantic import BaseModel

import pyserini_tasb
from pyserini_tasb.cli.listing import AXES
from pyserini_tasb.cli.main import GROUPS, build_parser
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.lookup import own_folder, recipe_files, recipes
from pyserini_tasb.recipes.types import EncoderCard, FusionRecipe, NameOf, Prebuilt, Regression, TopicSet
from pyserini_tasb.registry import HOMES
from pyserini_tasb.regression.report_content import PaperTable
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.config import TeachCatConfig, TeachColBertConfig, TrainConfig
from pyserini_tasb.training.study_config import StudyConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from pyserini_tasb.cli.verbs import Verb

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pyserini_tasb.__file__).parent
# YAML files by page: the title, and the model of such a file, or of each kind of such a file.
SCHEMAS: dict[str, tuple[str, type[BaseModel] | dict[str, type[BaseModel]]]] = {
    "encoder-card": ("Encoder cards", EncoderCard),
    "fusion-recipe": ("Fusion recipes", FusionRecipe),
    "regression": (
        "Regressions",
        {"Conditions": Regression, "Topic sets": TopicSet, "Downloads": Prebuilt, "Tables of the paper": PaperTable},
    ),
    "train": ("Training", TrainConfig),
    "teach": ("Training of teachers", {"BERT_CAT": TeachCatConfig, "ColBERT": TeachColBertConfig}),
    "study": ("Studies", StudyConfig),
}
# Links to a model in its file, such as `pyserini_tasb/recipes/types.py#EncoderCard`, and where the site has its keys.
KEYS_OF = {
    f"{model.__module__.replace('.', '/')}.py#{model.__name__}": f"reference/yaml/{page}.md{anchor}"
    for page, (_, files) in SCHEMAS.items()
    for number, (kind, model) in enumerate((files if isinstance(files, dict) else {"": files}).items())
    for anchor in [f"#{kind.lower().replace(' ', '-')}" if number else ""]
}
# Files that pages link to and a reader wants to see, and the pages that show them.
SHOWN = {
    "benchmarks/ablation.yaml": "reference/ablation-yaml.md",
    "examples/services": "reference/services.md",
    "examples/training": "reference/training-scripts.md",
    "tests/outside_package": "reference/outside-package.md",
}


@functools.cache
def pages() -> dict[str, str]:
    """Every written page: its path on the site, and its Markdown."""
    verbs = {page_of(verb): verb_page(verb) for group in GROUPS.values() for verb in group}
    schemas = {f"reference/yaml/{name}.md": schema_page(title, files) for name, (title, files) in SCHEMAS.items()}
    shown = {site: shown_page(ROOT / repository) for repository, site in SHOWN.items()}
    others = {
        "reference/verbs/index.md": overview(),
        "reference/objects.md": objects_page(),
        "reference/names.md": names_page(),
    }
    return verbs | schemas | shown | others


def navigation() -> list[dict[str, Any]]:
    """The part of the navigation that leads to these pages."""
    return [
        {
            "Verbs": [
                "reference/verbs/index.md",
                *(
                    {title.capitalize(): [{verb.name: page_of(verb)} for verb in group]}
                    for title, group in GROUPS.items()
                ),
            ]
        },
        {"Python objects": "reference/objects.md"},
        {"Names": "reference/names.md"},
        {"YAML files": [{title: f"reference/yaml/{name}.md"} for name, (title, _) in SCHEMAS.items()]},
        {
            "Examples": [
                {"A study": SHOWN["benchmarks/ablation.yaml"]},
                {"Scripts for services": SHOWN["examples/services"]},
                {"Scripts for training": SHOWN["examples/training"]},
                {"A package with extensions": SHOWN["tests/outside_package"]},
            ]
        },
    ]


# Verbs: what the parser and the docstrings say.


def page_of(verb: Verb) -> str:
    """The path of a verb's page: `index.md` would be the first of the folder."""
    return f"reference/verbs/tasb-{verb.name}.md"


def overview() -> str:
    """All verbs, and the options that each of them has."""
    parts = [
        "# Verbs",
        """A verb is a command, `tasb VERB`. Most are a function of Python, too: `pyserini_tasb.VERB(…)` runs the same
code. An option is an argument of the function: `--batch-size` is `batch_size=`.""",
    ]
    for title, group in GROUPS.items():
        rows = [
            (
                f"[`tasb {verb.name}`](tasb-{verb.name}.md)",
                f"`{function_of(verb)}`" if function_of(verb) else "",
                escaped(verb.summary),
            )
            for verb in group
        ]
        parts += [f"## {title.capitalize()}", markdown_table(("Command", "Function", "What it does"), rows)]
    some_verb = next(iter(parsers().values()))
    parts += ["## Options of every verb", *(option(some_verb, action) for action in common_actions(some_verb))]
    parts += ["## Options of `tasb`", *(option(build_parser(), each) for each in options_of(build_parser()))]
    return "\n\n".join(parts) + "\n"


def verb_page(verb: Verb) -> str:
    """A verb: its example, its options, its function and what that returns."""
    parser = parsers()[verb.name]
    common = {action.dest for action in common_actions(parser)}
    own = [action for action in options_of(parser) if action.dest not in common]
    parts = [f"---\ntitle: {verb.name}\n---", f"# `tasb {verb.name}`", escaped(verb.summary)]
    parts += [f"```\n{verb.example}\n```"]
    parts += ["## Options", *(option(parser, action) for action in own)] if own else []
    for group in parser._mutually_exclusive_groups:  # noqa: SLF001 - argparse has no public name for them
        names = [f"`{name_of(action)}`" for action in group._group_actions if action.dest not in common]  # noqa: SLF001
        parts += [f"Give {'one' if group.required else 'at most one'} of {', '.join(names)}."] if names else []
    parts += ["`-q`, `-v` and `--trust` are [options of every verb](index.md#options-of-every-verb)."]
    if name := function_of(verb):
        parts += ["## Python", documented(name), *(documented(each) for each in results_of(name))]
    return "\n\n".join(parts) + "\n"


@functools.cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb."""
    (verbs,) = [action for action in build_parser()._actions if action.dest == "verb"]  # noqa: SLF001
    return dict(typing.cast("dict[str, argparse.ArgumentParser]", verbs.choices))


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of a parser, but `--help`."""
    left_out = argparse._HelpAction | argparse._SubParsersAction  # noqa: SLF001
    return [action for action in parser._actions if not isinstance(action, left_out)]  # noqa: SLF001


def common_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that every verb has."""
    return [action for action in options_of(parser) if action.dest in ("verbosity", "trust")]


def option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option as a term and its definition, which links can lead to."""
    formatter = argparse.HelpFormatter(parser.prog, width=1_000)
    typed = formatter._format_action_invocation(action)  # noqa: SLF001
    said = formatter._expand_help(action)  # noqa: SLF001
    required = " *required*" if action.required and action.option_strings else ""
    return f"`{typed}`{{ #{name_of(action)} }}{required}\n\n:   {escaped(said)}"


def name_of(action: argparse.Action) -> str:
    """The name that an option is known by."""
    return next(reversed(action.option_strings), str(action.metavar or action.dest))


def function_of(verb: Verb) -> str | None:
    """The public function that a verb calls."""
    name = verb.name.replace("-", "_")
    return name if verb.at is None and name in pyserini_tasb.__all__ else None


# Python: docstrings, which mkdocstrings reads.


@functools.cache
def package() -> griffe.Object:
    """The package as its source says, without importing it."""
    return typing.cast("griffe.Object", griffe.load("pyserini_tasb", search_paths=[str(PACKAGE.parent)]))


def results_of(function: str) -> list[str]:
    """The classes that a function returns and no other does: those of `formats` flow everywhere."""
    found = package()[function]
    returns = (found.final_target if found.is_alias else found).returns
    names = returns.iterate() if isinstance(returns, griffe.Expr) else ()  # `None` is no expression
    places = [each.canonical_path for each in names if isinstance(each, griffe.ExprName)]
    return [
        name if name in pyserini_tasb.__all__ else place.removeprefix("pyserini_tasb.")
        for place in places
        for name in [place.rpartition(".")[2]]
        if place.startswith("pyserini_tasb.") and not place.startswith("pyserini_tasb.formats.")
    ]


def documented(name: str) -> str:
    """Where mkdocstrings writes what the docstring of a name says."""
    return f"::: pyserini_tasb.{name}"


def objects_page() -> str:
    """The public names that no verb's page has."""
    verbs = [name for group in GROUPS.values() for verb in group if (name := function_of(verb))]
    elsewhere = {*verbs, *(name for verb in verbs for name in results_of(verb)), "__version__"}
    parts = [
        "# Python objects",
        """The functions of the verbs, and what they return, stand on the [verbs' pages](verbs/index.md). Here is
everything else that `import pyserini_tasb as tasb` offers.""",
        *(documented(name) for name in pyserini_tasb.__all__ if name not in elsewhere),
    ]
    return "\n\n".join(parts) + "\n"


# Names: what the registries hold, as `tasb list` prints it.


def names_page() -> str:
    """A table for each axis."""
    parts = [
        "# Names",
        """Whatever has a name in a YAML file or an option, as `tasb list` prints it. Some can also come from
[your own code](../extend.md).""",
    ]
    for axis, about in AXES.items():
        rows = names_of(axis)
        link = f" Its entries are [registered](../extend.md#what-can-be-added) under `{axis}`." if axis in HOMES else ""
        parts += [f"## {axis}", f"{escaped(sentence(about.description.partition(';')[0]))}{link}"]
        parts += [markdown_table(("Name", "What it is"), [(f"`{name}`", escaped(said)) for name, said in rows.items()])]
    return "\n\n".join(parts) + "\n"


RECIPES: dict[str, Literal["encoders", "fusion", "regressions"]] = {
    "encoders": "encoders",
    "fusion-recipes": "fusion",
    "regressions": "regressions",
}


def names_of(axis: str) -> dict[str, str]:
    """The names of an axis, each with a line about it."""
    if axis in RECIPES:
        return shipped(RECIPES[axis])
    module, _, registry = HOMES.get(axis, "").partition(":")
    if module.startswith("training."):
        return registered(PACKAGE / f"{module.replace('.', '/')}.py", registry)
    rows = AXES[axis].list().rows
    return {row["name"]: row["description"] for row in rows if row.get("origin", "pyserini-tasb") == "pyserini-tasb"}


def shipped(kind: Literal["encoders", "fusion", "regressions"]) -> dict[str, str]:
    """The recipes that come with the package, not those in somebody's own folder."""
    files = recipe_files(kind)
    return {
        f"tasb:{name}" if kind == "encoders" else name: recipe.description
        for name, recipe in recipes(kind).items()
        if not isinstance(recipe, TasbError) and files[name].is_relative_to(own_folder(kind))
    }


def registered(chapter: Path, registry: str) -> dict[str, str]:
    """The entries of a registry that decorators make, read and not imported: the chapters of training import torch."""
    found = {}
    for node in ast.parse(chapter.read_text(encoding="utf-8")).body:
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=where), attr="register"), args=[ast.Constant(value=str(name))]
                ) if where == registry:
                    said = ast.get_docstring(typing.cast("ast.FunctionDef", node)) or ""
                    found[name] = said.partition("\n")[0].rstrip(".")
    return found


# YAML files: what the pydantic models say.


def schema_page(title: str, files: type[BaseModel] | dict[str, type[BaseModel]]) -> str:
    """Every key of a kind of YAML file, section by section."""
    parts = [f"# {title}: every key"]
    if isinstance(files, dict):
        for number, (kind, model) in enumerate(files.items()):
            anchor = f"{model.__name__.lower()}." if number else ""
            parts += [f"## {escaped(kind)}", escaped(summary(model)), *sections(model, "", {}, anchor=anchor)]
    else:
        parts += [escaped(summary(files)), *sections(files, "", {}, anchor="")]
    return "\n\n".join(parts) + "\n"


def sections(model: type[BaseModel], prefix: str, shown: dict[type[BaseModel], str], *, anchor: str) -> list[str]:
    """The keys of a model, then those of each section that they hold.

    Args:
        model: of a section, or of the whole file.
        prefix: of the keys: the section's own key.
        shown: the sections that the page has already, and their anchors.
        anchor: what the page's anchors begin with.
    """
    said, parts, held = said_of(model), [], []
    for name, field in model.model_fields.items():
        path, kind = f"{prefix}{name}", type_of(field.annotation, field.metadata)
        for part in models_in(field.annotation):
            if part not in shown:
                shown[part] = f"section-{anchor}{path}"
                several = field.annotation is not part and optional(field.annotation) is not part
                held.append((part, path, f"### {'Each of ' if several else ''}`{path}` {{ #{shown[part]} }}"))
            kind = kind.replace("section", f"[section](#{shown[part]})")
        parts.append(f"`{path}`{{ #{anchor}{path} }} {kind}, {default_of(field)}\n\n:   {escaped(said.get(name, ''))}")
    for part, path, heading in held:
        parts += [heading, escaped(summary(part)), *sections(part, f"{path}.", shown, anchor=anchor)]
    return parts


def default_of(field: FieldInfo) -> str:
    """A field's default as a YAML file would say it."""
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "*optional*"
    return f"default `{yaml_of(value)}`"


def yaml_of(value: Any) -> str:
    """A value as a YAML file would say it."""
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)
    return text.removesuffix("...\n").strip()


SCALARS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    dt.date: "date",
    typing.Any: "any value",
}


def type_of(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        said = type_of(inner[0], [*inner[1:], *metadata])
    elif origin is Literal:
        said = " or ".join(f"`{yaml_of(each)}`" for each in inner)
    elif origin in (typing.Union, types.UnionType):
        said = " or ".join("`null`" if each is type(None) else type_of(each, metadata) for each in inner)
    elif origin is dict:
        said = f"mapping of {type_of(inner[0])} to {type_of(inner[1])}"
    elif origin in (list, tuple):
        several = origin is list or Ellipsis in inner
        said = f"list of {type_of(inner[0])}" if several else f"{len(inner)} × {type_of(inner[0])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        said = "section"
    elif names := [each for each in metadata if isinstance(each, NameOf)]:
        known = f"one of [{names[0].axis}](../names.md#{names[0].axis})"
        said = " or ".join([known, *(f"`{each}`" for each in names[0].further)])
    else:
        said = " ".join([SCALARS.get(annotation, annotation.__name__), *bounds(metadata)])
    return said


SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def bounds(metadata: typing.Sequence[Any]) -> list[str]:
    """The limits of a number."""
    return [f"{sign} {getattr(each, name)}" for each in metadata for name, sign in SIGNS.items() if hasattr(each, name)]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a value of a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def optional(annotation: Any) -> Any:
    """The type of a value that may be absent."""
    others = [each for each in typing.get_args(annotation) if each is not type(None)]
    return others[0] if len(others) == 1 and type(None) in typing.get_args(annotation) else None


def said_of(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field, which Python itself does not keep."""
    said: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            for field, after in zip(body.body, body.body[1:], strict=False):
                match field, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        said[name] = inspect.cleandoc(text)
    return said


def summary(model: type[BaseModel]) -> str:
    """The text of a model's docstring."""
    return inspect.cleandoc(model.__doc__ or "")


# Files, and words.


def shown_page(source: Path) -> str:
    """A file, or all files of a folder, to read."""
    shown = (".py", ".sh", ".toml")
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.suffix in shown)
    parts = [f"# `{source.relative_to(ROOT)}`"]
    for file in files:
        parts += [f"## `{file.relative_to(source)}`"] if file != source else []
        language = {".py": "python", ".sh": "bash"}.get(file.suffix, file.suffix[1:])
        parts += [f"```{language}\n{file.read_text(encoding='utf-8').strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """A text in which Markdown means nothing but `code`."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<\[\]|#$])", r"\\\1", part) for part in parts)


def sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + "."
