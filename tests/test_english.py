"""Plain English in pages, help texts, messages and docstrings; `tests/english.py` has the rules."""

from __future__ import annotations

import re

import pytest

from tests.command_line import parser
from tests.english import PACKAGE, ROOT, RULES, Text, docstring_texts, faults, help_texts, markdown_texts, source_texts

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *(path for folder in ("docs", "encoders", "fusion", "regressions") for path in (ROOT / folder).rglob("*.md")),
    ]
)
ROOMS = sorted(path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.instead)
def test_a_rule_catches_its_example_and_not_the_plain_one(rule):
    kind = rule.kinds[0] if rule.kinds else "prose"
    assert rule.found_in(Text("here", rule.caught, kind))
    assert not faults([Text("here", rule.allowed, kind)])


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_page(path):
    report(faults(markdown_texts(path)))


@pytest.mark.parametrize("path", ROOMS, ids=named)
def test_room(path):
    files = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    report([fault for file in files for fault in faults(source_texts(file))])


def test_help():
    report(faults(help_texts(parser())))


def report(found):
    if found:
        pytest.fail("\n".join([f"{len(found)} places to write more plainly:", *found]), pytrace=False)


def test_markdown_is_read_without_its_code(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.english.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading\n"
        "Two lines with `mend x`\nand a [link](mend.md).\n"
        "```\nmend alone\n```\n"
        "* an item\n  that goes on\n"
        "| cell | **another** |\n|---|---|\n"
        "<!-- mend -->\n"
        "$$\nmend\n$$\n"
        "> ``` \n> mend\n> ```\n"
        "> A quotation.\n"
    )
    assert [(text.where, text.text) for text in markdown_texts(page) if re.search("[a-z]", text.text)] == [
        ("page.md:1", "A heading"),
        ("page.md:2", "Two lines with CODE and a link."),
        ("page.md:7", "an item that goes on"),
        ("page.md:9", "cell"),
        ("page.md:9", "another"),
        ("page.md:18", "A quotation."),
    ]


def test_docstrings_are_read_part_by_part():
    docstring = """A thing.

    It has a paragraph of two
    lines.

        program(of="the docstring")

    Args:
        one: the first of two
            lines.
        two: `code`.

    Raises:
        TasbError: it failed.
    """
    assert [(text.text, text.kind) for text in docstring_texts("here", docstring, first=True)] == [
        ("A thing.", "docstring"),
        ("It has a paragraph of two lines.", "prose"),
        ("the first of two lines.", "argument"),
        ("CODE.", "argument"),
        ("it failed.", "prose"),
    ]


def test_literals_are_read_with_code_for_values(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.english.ROOT", tmp_path)
    source = tmp_path / "source.py"
    source.write_text(
        '"""A module."""\n'
        'raise TasbError(expected=f"a file of {count} lines", found="none", do="write it\\nwith care and a pen")\n'
        'PATTERN = re.compile("mend the file please")\n'
        "class Model:\n"
        "    size: int\n"
        '    """The size in bytes."""\n'
    )
    assert [(text.where, text.text, text.kind) for text in source_texts(source)] == [
        ("source.py:1", "A module.", "docstring"),
        ("source.py:6", "The size in bytes.", "prose"),
        ("source.py:2", "a file of CODE lines", "message"),
        ("source.py:2", "write it", "message"),
        ("source.py:2", "with care and a pen", "message"),
    ]
