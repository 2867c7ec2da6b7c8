from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pyserini_tasb.environment import checks


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Pretend that exactly these distributions are installed."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def pretend(**versions: str) -> None:
        monkeypatch.setattr(checks, "installed", versions.get)

    return pretend


def only(findings: list, name: str):
    return next(finding for finding in findings if finding.name == name)


def test_thresholds_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = {(it := Requirement(line)).name: it.specifier for line in project["dependencies"]}

    def dotted(numbers: tuple[int, ...]) -> str:
        return ".".join(map(str, numbers))

    assert set(str(required["pyserini"]).split(",")) == {
        f">={dotted(checks.PYSERINI)}",
        f"<{dotted(checks.NOT_PYSERINI)}",
    }
    assert str(required["transformers"]) == f">={dotted(checks.TRANSFORMERS)}"
    assert str(required["openai"]) == f"<{dotted(checks.OPENAI_REFUSING_EMPTY_KEYS)}"
    assert project["requires-python"] == f">={dotted(checks.PYTHON)}"


def test_release():
    assert checks.release("2.14.1+cu130") == (2, 14, 1)
    assert checks.release("5.0.0rc1") == (5, 0, 0)


@pytest.mark.parametrize("found", [{}, {"pyserini": "1.5.0"}, {"pyserini": "3.0"}])
def test_pyserini_missing_or_out_of_range(install, found: dict[str, str]):
    install(**found)
    (finding,) = checks.check_pyserini()
    assert (finding.status, finding.remedy) == ("problem", checks.INSTALL_PYSERINI)


@pytest.mark.parametrize("pyserini", ["1.6.0", "2.0.0"])
@pytest.mark.parametrize(("openai", "status"), [("2.33.0", "ok"), ("2.34.0", "problem"), ("3.54.0", "problem")])
def test_openai_clash(install, pyserini: str, openai: str, status: str):
    install(pyserini=pyserini, openai=openai)
    findings = checks.check_pyserini()
    assert only(findings, "Pyserini").status == "ok"
    assert only(findings, "openai").status == status
    assert only(findings, "openai").remedy == (None if status == "ok" else "pip install 'openai<2.34'")


def test_openai_clash_is_hidden_by_a_key(install, monkeypatch: pytest.MonkeyPatch):
    install(pyserini="1.6.0", openai="3.0")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    finding = only(checks.check_pyserini(), "openai")
    assert finding.status == "ok"
    assert "only while OPENAI_API_KEY is set" in finding.found


def test_later_pyserini_does_not_care_about_openai(install):
    install(pyserini="2.3.0", openai="3.54.0")
    assert [finding.name for finding in checks.check_pyserini()] == ["Pyserini"]


@pytest.mark.parametrize(("online", "status"), [(True, "ok"), (False, "warning")])
def test_pyserini_2_4_0_offline(install, monkeypatch: pytest.MonkeyPatch, online: bool, status: str):
    install(pyserini="2.4.0")
    monkeypatch.setattr(checks, "answers", lambda _: online)
    (finding,) = checks.check_pyserini()
    assert finding.status == status
    assert "downloads index metadata whenever it is imported" in finding.found
    assert (finding.remedy is None) == online


@pytest.mark.parametrize(("found", "status"), [("4.57.0", "ok"), ("4.56.2", "problem"), (None, "problem")])
def test_transformers(monkeypatch: pytest.MonkeyPatch, found: str | None, status: str):
    monkeypatch.setattr(checks, "installed", lambda _: found)
    assert checks.check_transformers()[0].status == status


def test_torch_is_described():
    finding, *_ = checks.check_torch()
    assert finding.status == "ok"
    assert finding.found.startswith(version("torch"))
    assert "GPU: " in finding.found


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding, *_ = checks.check_torch()
    assert finding.status == "problem"
    assert "pip install" in str(finding.remedy)
