"""The verbs of this room as functions: nothing is printed, verdicts are values, and results flow on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pyserini_tasb as tasb

DOCS = Path(__file__).parents[2] / "docs" / "regressions.md"


def test_the_example_of_the_docs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    exec(example, {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == "{'dl19-passage.tasb.run': <Verdict.OK: 'OK'>}\n"
    assert (tmp_path / "report" / "index.html").is_file()


def test_verdicts_are_values(small, output, capsys):
    source = {"kind": "pyserini-2cr", "reference": "nowhere"}
    names = [
        str(small.regression(name, expected=[{"source": source, "values": {"RR@10": value}}]))
        for name, value in (("ok", 0.75), ("higher", 0.5), ("fail", 1.0))
    ]
    result = tasb.regress([*names, str(small.regression("missing", run="nowhere.run"))], output=output)
    assert result.verdicts == {"ok": "OK", "higher": "HIGHER", "fail": "FAIL", "missing": "MISSING"}
    assert (result.failed, result.missing) == (("higher", "fail"), ("missing",))
    assert tasb.regress(names[1], allow_higher=["high*"], output=output).failed == ()
    assert "<td>" in result._repr_html_()
    assert capsys.readouterr().out == ""


def test_an_error_names_the_parameter(small):
    with pytest.raises(tasb.TasbError, match="match='nothing"):
        tasb.regress(match=["nothing*"])


def test_doctor_finds_and_raises_nothing(tmp_path, capsys):
    (finding,) = tasb.doctor(tmp_path).problems
    assert "check the path" in finding.found
    assert capsys.readouterr().out == ""
