from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.environment import java as environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environment.conftest import MakeJava


pytestmark = pytest.mark.usefixtures("no_java")


def test_candidates_come_in_order_and_once(make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    of_variable = make_java("variable", "17.0.1")
    of_path = make_java("path", "21.0.1")
    of_conda = make_java("conda/lib/jvm", "22.0.1")
    of_system = make_java("jvm/a", "23.0.1")
    (tmp_path / "jvm" / "default-java").symlink_to(of_path)
    (tmp_path / "jvm" / "also-a").symlink_to(of_system)
    monkeypatch.setenv("JAVA_HOME", str(of_variable))
    monkeypatch.setenv("PATH", str(of_path / "bin"))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    found = environment.candidates([str(tmp_path / "jvm" / "*")])
    assert [(java.home, java.source) for java in found] == [
        (of_variable, "JAVA_HOME"),
        (of_path, "PATH"),
        (of_conda, "conda"),
        (of_system, "system"),
    ]


def test_conda_is_found_without_activation(make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = make_java("env/lib/jvm", "21.0.1")
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    found = environment.find_java([])
    assert found is not None
    assert (found.home, found.source) == (home, "conda")


def test_of_the_systems_the_lowest_that_is_new_enough(make_java: MakeJava, tmp_path: Path):
    for name, version in [("jvm/a", "25.0.3"), ("jvm/b", "17.0.15"), ("jvm/c", "21.0.2"), ("jvm/d", "21.0.9")]:
        make_java(name, version)
    found = environment.find_java([str(tmp_path / "jvm" / "*")])
    assert found is not None
    assert found.home == tmp_path / "jvm" / "c"


def test_the_users_own_wins_over_the_systems(make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_java("jvm/a", "21.0.2")
    chosen = make_java("mine", "25.0.3")
    monkeypatch.setenv("JAVA_HOME", f"{chosen}/bin")  # as pyjnius, forgive the bin
    found = environment.find_java([str(tmp_path / "jvm" / "*")])
    assert found is not None
    assert found.home == chosen


def test_folders_below_home_are_searched(make_java: MakeJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_java(".jdks/temurin", "21.0.2")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "~/.jdks/*" in environment.SYSTEM_FOLDERS
    assert environment.find_java(["~/.jdks/*"]) is not None


def test_nothing_suitable(make_java: MakeJava, tmp_path: Path):
    make_java("jvm/old", "17.0.2")
    make_java("jvm/trimmed", "25", modules="java.xml")
    assert environment.find_java([str(tmp_path / "jvm" / "*")]) is None


class TestWouldFail:
    """The answer comes from pyjnius itself, so these hold for the installed one."""

    @pytest.fixture(autouse=True)
    def _pyjnius(self):
        pytest.importorskip("jnius_config")

    def test_java_home_first(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("JAVA_HOME", str(make_java("good", "21.0.2")))
        monkeypatch.setenv("PATH", str(make_java("old", "17.0.2") / "bin"))
        assert environment.would_fail() is None
        assert environment.path_would_fail() is not None

    @pytest.mark.parametrize("variable", environment.HOME_VARIABLES)
    def test_each_variable(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch, variable: str):
        home = make_java("old", "17.0.2")
        monkeypatch.setenv(variable, str(home))
        assert environment.would_fail() == (
            f"Pyserini's Java ({home}, from {variable}) is Java 17, Pyserini needs 21 or newer"
        )

    def test_javac_on_path(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PATH", str(make_java("good", "21.0.2") / "bin"))
        assert environment.would_fail() is None
        assert environment.path_would_fail() is None

    def test_pyjnius_does_not_find_a_java_without_javac(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
        home = make_java("jre", "21.0.2")
        (home / "bin" / "javac").unlink()
        monkeypatch.setenv("PATH", str(home / "bin"))
        assert "leads to no Java" in str(environment.would_fail())
        assert environment.path_would_fail() is None
        assert environment.find_java([]) is not None

    def test_java_home_without_java(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        assert environment.would_fail() == f"Pyserini finds no Java: JAVA_HOME is {tmp_path}, which contains no Java"

    def test_trimmed_runtime(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("JAVA_HOME", str(make_java("trimmed", "21.0.2", modules="java.xml")))
        assert "lacks the module" in str(environment.would_fail())

    def test_jvm_path_wins(self, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("JAVA_HOME", str(make_java("good", "21.0.2")))
        old = make_java("old", "17.0.2")
        monkeypatch.setenv("JVM_PATH", str(old / "lib" / "server" / "libjvm.so"))
        assert f"({old}, from JVM_PATH) is Java 17" in str(environment.would_fail())


def test_trec_eval_needs_a_java_on_path(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    assert environment.path_would_fail() == "trec_eval finds no `java` on PATH"
    old = make_java("old", "17.0.2")
    monkeypatch.setenv("PATH", str(old / "bin"))
    assert environment.path_would_fail() == (
        f"trec_eval's Java ({old}, from PATH) is Java 17, Pyserini needs 21 or newer"
    )
    trimmed = make_java("trimmed", "21.0.2", modules="java.xml", libjvm=False)
    monkeypatch.setenv("PATH", str(trimmed / "bin"))
    assert environment.path_would_fail() is None


def test_java_environment(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch):
    home = make_java("good", "21.0.2")
    monkeypatch.setenv("JVM_PATH", "/left/alone")
    (java,) = environment.candidates([str(home)])
    path = os.environ["PATH"]
    assert environment.java_environment(java) == {"JAVA_HOME": str(home), "PATH": f"{home}/bin:{path}"}
