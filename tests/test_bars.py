"""Progress bars: `TQDM_DISABLE` hides all of them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from pyserini_tasb.bars import hidden
from pyserini_tasb.environment.doctor import examine

PACKAGE = Path(__file__).parents[1] / "pyserini_tasb"


def test_tqdm_disable_hides_a_bar_of_a_terminal(monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    examine({"java": list})
    assert "checking" in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    examine({"java": list})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("otherwise", [None, True, False])
def test_without_tqdm_disable_a_bar_has_its_own_reason(otherwise, monkeypatch):
    for nothing in (None, ""):
        if nothing is None:
            monkeypatch.delenv("TQDM_DISABLE", raising=False)
        else:
            monkeypatch.setenv("TQDM_DISABLE", nothing)
        assert hidden(otherwise) is otherwise


def test_every_bar_with_a_reason_of_its_own_heeds_tqdm_disable():
    values = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}": ast.unparse(keyword.value)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("tqdm", "trange"))
        for keyword in node.keywords
        if keyword.arg == "disable"
    }
    assert len(values) > 9
    assert {place: value for place, value in values.items() if not value.startswith("hidden(")} == {}
