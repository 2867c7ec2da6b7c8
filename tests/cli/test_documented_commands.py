"""Every command of ours in README.md, the docs, the recipes and the demo, read by the parser that users have."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from pyserini_tasb import demo
from tests.command_line import parse, parser
from tests.command_line_options import verbs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
PAGES += [ROOT / folder / "README.md" for folder in ("encoders", "fusion", "regressions")]
MODULE = ["python", "-m", "pyserini_tasb"]
PRINTED = re.compile(r"tasb [a-z-]*[:,]( |$)|tasb( [a-z-]+)? +\d")
OPERATORS = re.compile(r"[();<>|&]+")
OPTIONS = {
    words[0]: {option for action in tree._actions for option in action.option_strings}
    for words, tree in verbs(parser())
    if words
}


def text_of(page):
    """A page's text; that of a notebook is in its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def typed_in(page):
    """Lines of code blocks, continued ones joined, with the number of the first."""
    block, begun, number_begun = False, "", 0
    for number, line in enumerate(text_of(page).splitlines(), 1):
        if line.startswith("```"):
            block = not block
        elif block:
            number_begun = number_begun if begun else number
            begun += line.removesuffix("\\")
            if not line.endswith("\\"):
                yield number_begun, begun
                begun = ""


def simple_commands(line):
    """The commands of a line of shell, without variables before them and redirections behind them."""
    tokens = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
    tokens.whitespace_split = True
    words: list[str] = []
    for token in tokens:
        if OPERATORS.fullmatch(token):
            yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*|do|then", token):
            words.append(re.sub(r"\$\{?\w+\}?", "1", token))  # an option may ask for a number
    yield words


def ours(words):
    """What follows `tasb`; None of other commands."""
    if words[:1] == ["tasb"]:
        return words[1:]
    return words[3:] if words[:3] == MODULE else None


def in_blocks():
    for page in PAGES:
        for number, line in typed_in(page):
            if "tasb " not in line or PRINTED.search(line):
                continue
            for words in map(ours, simple_commands(line)):
                if words is not None:
                    yield pytest.param(words, id=f"{page.relative_to(ROOT)}:{number}")


def in_recipes():
    for path in sorted((ROOT / "regressions").glob("*.yaml")):
        for stage in yaml.safe_load(path.read_text()).get("stages", ()):
            if stage["command"][0] == "pyserini_tasb":
                yield pytest.param(list(map(str, stage["command"][1:])), id=path.name)


def in_demo():
    for step in demo.STEPS:
        words = ours(["python", *step.arguments])
        if words is not None:
            yield pytest.param(words, id=f"demo {step.name}")


def in_prose():
    """Commands between backticks; what is left out of them stands for any option."""
    for page in PAGES:
        for number, line in enumerate(text_of(page).splitlines(), 1):
            for span in re.findall(r"(?<!`)`((?:tasb|python -m pyserini_tasb) [^`]+)`(?!`)", line):
                yield pytest.param(ours(shlex.split(span)), id=f"{page.relative_to(ROOT)}:{number} {span[:30]}")


def test_there_are_many():
    assert len(list(in_blocks())) > 60
    assert len(list(in_prose())) > 60
    assert len(list(in_recipes())) > 10
    assert len(list(in_demo())) > 5


@pytest.mark.parametrize("words", [*in_blocks(), *in_recipes(), *in_demo()])
def test_the_parser_takes_it(words):
    if "…" in words:
        check_names(words)
    else:
        parse(*words)


@pytest.mark.parametrize("words", [*in_prose()])
def test_its_verb_and_options_exist(words):
    check_names(words)


def check_names(words):
    verb, *rest = words
    assert verb in {*OPTIONS, "VERB", "--version"}
    options = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert options <= OPTIONS.get(verb, options)
