"""The Java that Pyserini gets, and whence."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from pyserini_tasb.environment.finding import Finding, ok, problem, warning
from pyserini_tasb.environment.java import (
    SWITCH,
    SYSTEM_FOLDERS,
    candidates,
    find_java,
    install_advice,
    path_java,
    path_would_fail,
    pyserini_java,
    variable_java,
    would_fail,
)
from pyserini_tasb.environment.java_home import OLDEST, VECTOR_MODULE, Java

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_java(system_folders: Sequence[str] = SYSTEM_FOLDERS) -> list[Finding]:
    """JAVA_HOME, `java` on PATH, the Java that will be used, and its vector module."""
    chosen = find_java(system_folders)
    # Without a suitable one, one that is new enough and lacks the module is worth a line of its own.
    newest = max(candidates(system_folders), key=lambda java: java.version, default=None)
    return [_java_home(chosen), _on_path(chosen), _used(chosen), *_vector_module(chosen or newest)]


def _java_home(chosen: Java | None) -> Finding:
    value = os.environ.get("JAVA_HOME")
    if not value:
        return ok("JAVA_HOME", "not set")
    java = variable_java("JAVA_HOME")
    if java is None:
        return _amiss("JAVA_HOME", f"{value}, which holds no Java", chosen)
    return _amiss("JAVA_HOME", f"{value} {java.shortfall}", chosen) if java.shortfall else ok("JAVA_HOME", str(java))


def _on_path(chosen: Java | None) -> Finding:
    reason = path_would_fail()
    return _amiss("Java on PATH", reason, chosen) if reason else ok("Java on PATH", str(path_java()))


def _used(chosen: Java | None) -> Finding:
    name = "Java for Pyserini"
    reason = would_fail()
    if reason is None:
        java = pyserini_java()
        return ok(name, f"{java}, from {java.source}")
    if os.environ.get("JVM_PATH"):
        return problem(name, reason, "unset JVM_PATH")
    if chosen is None:
        return problem(name, reason, install_advice())
    if _switched_off():
        return problem(name, f"{reason}; {chosen} is not used: {SWITCH}=0", f"unset {SWITCH}")
    return ok(name, f"{chosen}, from {chosen.source}: `tasb` and the start-up hook set it")


def _vector_module(java: Java | None) -> list[Finding]:
    if java is None or java.version < OLDEST:
        return []
    if java.has_vector_module is False:
        return [problem(VECTOR_MODULE, f"not in {java}, a trimmed runtime", install_advice())]
    listed = "in" if java.has_vector_module else "its module list is missing; taken to be in"
    return [ok(VECTOR_MODULE, f"{listed} {java}")]


def _amiss(name: str, found: str, chosen: Java | None) -> Finding:
    """Only a warning where we step in."""
    if chosen is None:
        return problem(name, found, install_advice())
    home = shlex.quote(str(chosen.home))
    export = f'export JAVA_HOME={home} PATH={home}/bin:"$PATH"'
    return problem(name, found, export) if _switched_off() else warning(name, found, export)


def _switched_off() -> bool:
    return os.environ.get(SWITCH) == "0"
