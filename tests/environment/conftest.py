from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from pyserini_tasb.environment.java import HOME_VARIABLES, VECTOR_MODULE

if TYPE_CHECKING:
    from pathlib import Path


class MakeJava(Protocol):
    def __call__(
        self, name: str, version: str, *, modules: str | None = ..., libjvm: bool = ..., release: bool = ...
    ) -> Path: ...


@pytest.fixture
def make_java(tmp_path: Path) -> MakeJava:
    """Build a folder that looks like a JDK; its `java` is a script that says what a real one would."""

    def make(
        name: str, version: str, *, modules: str | None = VECTOR_MODULE, libjvm: bool = True, release: bool = True
    ) -> Path:
        home = tmp_path / name
        (home / "bin").mkdir(parents=True)
        (home / "lib" / "server").mkdir(parents=True)
        script = f"""#!/bin/sh
case "$*" in
  *--list-modules*) echo "java.base@{version}"; echo "{modules or ""}@{version}" ;;
  *) echo "    java.home = {home}" >&2; echo "    java.specification.version = {version}" >&2 ;;
esac
"""
        for command in ("java", "javac"):
            (home / "bin" / command).write_text(script)
            (home / "bin" / command).chmod(0o755)
        if libjvm:
            (home / "lib" / "server" / "libjvm.so").touch()
        if release:
            listed = "" if modules is None else f'MODULES="java.base {modules}"\n'
            (home / "release").write_text(f'IMPLEMENTOR="Test"\nJAVA_VERSION="{version}"\n{listed}')
        return home

    return make


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any Java, as far as the environment tells."""
    for variable in (*HOME_VARIABLES, "JVM_PATH", "CONDA_PREFIX", "PYSERINI_TASB_JAVA"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "empty"))
