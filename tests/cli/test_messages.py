"""What messages advise exists: options of verbs, commands, and keys of configurations."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from pyserini_tasb.cli.main import GROUPS
from pyserini_tasb.recipes import types
from pyserini_tasb.training.config import TeachCatConfig, TeachColBertConfig, TrainConfig
from pyserini_tasb.training.study_config import StudyConfig
from tests.command_line import parser
from tests.command_line_options import verbs

PACKAGE = Path(__file__).parents[2] / "pyserini_tasb"
VERBS = {verb.name for group in GROUPS.values() for verb in group}
OPTIONS = {
    " ".join(words): {name for action in tree._actions for name in (*action.option_strings, action.dest)}
    for words, tree in verbs(parser())
}
RUNS = {"train": TrainConfig, "teach cat": TeachCatConfig, "teach colbert": TeachColBertConfig, "study": StudyConfig}
RECIPES = {
    model.__name__: model for model in vars(types).values() if isinstance(model, type) and model is not BaseModel
}
CONFIGS = [*RUNS.values(), *(model for model in RECIPES.values() if issubclass(model, BaseModel))]


def models_in(annotation):
    """The models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def keys_of(model, start=""):
    """Every key of a configuration, with the sections before it."""
    for name, field in model.model_fields.items():
        yield f"{start}{name}"
        for inner in models_in(field.annotation):
            yield from keys_of(inner, f"{start}{name}.")


KEYS = {key for config in CONFIGS for key in keys_of(config)}
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}


def texts():
    """Where each string of the package stands, docstrings apart, and the string; `…` for what an f-string fills in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path in {PACKAGE / "__init__.py", PACKAGE / "registry.py"}:  # which name modules
            continue
        tree = ast.parse(path.read_text())
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
            id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        }
        for node in ast.walk(tree):
            place = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                yield place, "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | inner:
                yield place, node.value


TEXTS = list(texts())


def test_arguments_that_are_mentioned_exist():
    known = set().union(*OPTIONS.values()) | {"texts"}  # only in Python
    mentioned = {
        (str(path.relative_to(PACKAGE)), node.args[0].value)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"argument", "Argument"}
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(mentioned) > 100
    assert [(path, name) for path, name in sorted(mentioned) if name not in known] == []


def test_commands_that_are_mentioned_exist():
    found, wrong = 0, []
    for place, text in TEXTS:
        for words in re.findall(r"`tasb ([^`]+)`", text):
            verb, *others = words.split()
            found += 1
            if verb in {"…", "VERB", "--help"}:
                continue
            options = [word for word in others if word.startswith("--")]
            if verb not in VERBS or not set(options) <= OPTIONS[verb] | {"--help"}:
                wrong.append((place, words))
    assert found > 40
    assert wrong == []


def test_keys_that_are_mentioned_exist():
    found, wrong = 0, []
    for place, text in TEXTS:
        for key in re.findall(rf"(?<![\w./-])((?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+)(?![\w/(.]|\.[a-z])", text):
            found += 1
            if key not in KEYS and Path(key).suffix not in {".json", ".yaml", ".tsv", ".safetensors"}:
                wrong.append((place, key))
    assert found > 20
    assert wrong == []
