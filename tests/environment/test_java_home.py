from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.environment.java import read_command, read_home

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environment.conftest import MakeJava


@pytest.mark.parametrize(
    ("written", "version"), [("17.0.15", 17), ("21", 21), ("25.0.3", 25), ("26-ea", 26), ("1.8.0_392", 8)]
)
def test_version_comes_from_the_release_file(make_java: MakeJava, written: str, version: int):
    java = read_home(make_java("jdk", written), "system")
    assert java is not None
    assert (java.version, java.source) == (version, "system")


def test_a_folder_without_java_is_none(tmp_path: Path):
    assert read_home(tmp_path, "system") is None
    assert read_home(tmp_path / "missing", "system") is None


@pytest.mark.parametrize(
    ("options", "shortfall"),
    [
        ({"version": "21.0.5"}, None),
        ({"version": "21.0.5", "modules": None}, None),
        ({"version": "17.0.15"}, "is Java 17, Pyserini needs 21 or newer"),
        ({"version": "21.0.5", "modules": "java.xml"}, "lacks the module jdk.incubator.vector"),
        ({"version": "21.0.5", "libjvm": False}, "has no lib/server/libjvm"),
    ],
)
def test_shortfall(make_java: MakeJava, options: dict, shortfall: str | None):
    java = read_home(make_java("jdk", **options), "system")
    assert java is not None
    assert java.shortfall == shortfall
    assert java.suitable == (shortfall is None)


def test_modules_may_be_unknown(make_java: MakeJava):
    java = read_home(make_java("jdk", "21.0.5", modules=None), "system")
    assert java is not None
    assert java.has_vector_module is None


@pytest.mark.parametrize(("modules", "has_it"), [("jdk.incubator.vector", True), ("java.xml", False)])
def test_without_a_release_file_java_is_asked(make_java: MakeJava, modules: str, has_it: bool):
    java = read_home(make_java("jdk", "21", modules=modules, release=False), "system")
    assert java is not None
    assert (java.version, java.has_vector_module) == (21, has_it)


def test_a_java_that_does_not_work_is_none(make_java: MakeJava):
    home = make_java("jdk", "21", release=False)
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    assert read_home(home, "system") is None
    (home / "bin" / "java").write_bytes(b"\x00 not a program")
    assert read_home(home, "system") is None


def test_command_behind_debian_alternatives(make_java: MakeJava, tmp_path: Path):
    home = make_java("usr-lib-jvm-java-21", "21.0.5")
    (tmp_path / "alternatives").symlink_to(home / "bin" / "java")
    (tmp_path / "java").symlink_to(tmp_path / "alternatives")
    java = read_command(tmp_path / "java", "PATH")
    assert java is not None
    assert java.home == home


def test_command_that_is_a_launcher_of_another_java(make_java: MakeJava, tmp_path: Path):
    home = make_java("versions-21", "21.0.5")
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "java").write_text(f'#!/bin/sh\nexec {home}/bin/java "$@"\n')
    (shims / "java").chmod(0o755)
    java = read_command(shims / "java", "PATH")
    assert java is not None
    assert (java.home, java.version) == (home, 21)
