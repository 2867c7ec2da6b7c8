from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.environment.checks import check_java

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyserini_tasb.environment.checks import Finding
    from tests.environment.conftest import MakeJava

    Look = Callable[[], dict[str, Finding]]


pytestmark = pytest.mark.usefixtures("no_java")
pytest.importorskip("jnius_config")


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """The lines, by name, of a machine whose only system folder for Java is `jvm`."""
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))  # makes the advice one known line
    return lambda: {finding.name: finding for finding in check_java([str(tmp_path / "jvm" / "*")])}


def test_all_well(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    home = make_java("jvm/good", "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert {finding.status for finding in look().values()} == {"ok"}
    assert look()["Java for Pyserini"].found == f"Java 21 in {home}, from JAVA_HOME"


def test_old_first_and_new_beside(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    new, old = make_java("jvm/new", "21.0.2"), make_java("jvm/old", "17.0.2")
    monkeypatch.setenv("PATH", str(old / "bin"))
    found = look()
    assert found["JAVA_HOME"].found == "not set"
    assert found["Java on PATH"].status == "warning"
    assert found["Java on PATH"].remedy == f'export JAVA_HOME={new} PATH={new}/bin:"$PATH"'
    assert found["Java for Pyserini"].status == "ok"
    assert f"Java 21 in {new}, from system" in found["Java for Pyserini"].found


def test_the_switch_makes_it_a_problem(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    make_java("jvm/new", "21.0.2")
    old = make_java("jvm/old", "17.0.2")
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PYSERINI_TASB_JAVA", "0")
    found = look()
    assert found["JAVA_HOME"].status == found["Java on PATH"].status == "problem"
    assert found["Java for Pyserini"].remedy == "unset PYSERINI_TASB_JAVA"


def test_only_an_old_one(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(make_java("jvm/old", "17.0.2") / "bin"))
    found = look()
    assert found["Java for Pyserini"].status == "problem"
    assert found["Java for Pyserini"].remedy == "conda install -c conda-forge 'openjdk>=21'"
    assert "jdk.incubator.vector" not in found


def test_only_a_trimmed_one(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(make_java("jvm/trimmed", "21.0.2", modules="java.xml")))
    found = look()
    assert found["JAVA_HOME"].status == found["jdk.incubator.vector"].status == "problem"


def test_java_home_without_java(look: Look, make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_java("jvm/new", "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert look()["JAVA_HOME"].found == f"{tmp_path}, which contains no Java"
    assert look()["JAVA_HOME"].status == "warning"


def test_jvm_path(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    good, old = make_java("jvm/good", "21.0.2"), make_java("jvm/old", "17.0.2")
    monkeypatch.setenv("JAVA_HOME", str(good))
    monkeypatch.setenv("JVM_PATH", str(old / "lib" / "server" / "libjvm.so"))
    assert look()["Java for Pyserini"].remedy == "unset JVM_PATH"


def test_module_list_missing(look: Look, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(make_java("jvm/good", "21.0.2", modules=None)))
    assert "assumed to be in" in look()["jdk.incubator.vector"].found
