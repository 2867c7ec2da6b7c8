"""What a Java installation can do, read from its `release` file. Standard library only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

OLDEST = 21  # Anserini's class files are of this version
VECTOR_MODULE = "jdk.incubator.vector"  # Pyserini starts its JVM with --add-modules of it


@dataclass(frozen=True)
class Java:
    """A Java installation.

    Args:
        home: its folder, symbolic links resolved.
        version: the feature release, e.g. 21.
        has_vector_module: None where its `release` file does not list modules.
        source: how it was found: the variable's name, `PATH`, `conda` or `system`.
    """

    home: Path
    version: int
    has_vector_module: bool | None
    source: str

    @property
    def shortfall(self) -> str | None:
        """Why Pyserini cannot run on it; None where it can."""
        if self.version < OLDEST:
            return f"is Java {self.version}, Pyserini needs {OLDEST} or newer"
        if self.has_vector_module is False:
            return f"lacks the module {VECTOR_MODULE}"
        if not any((self.home / "lib" / "server" / name).is_file() for name in ("libjvm.so", "libjvm.dylib")):
            return "has no lib/server/libjvm"
        return None

    @property
    def suitable(self) -> bool:
        """Whether Pyserini can run on it."""
        return self.shortfall is None

    def __str__(self) -> str:
        return f"Java {self.version} in {self.home}"


def read_home(home: Path, source: str) -> Java | None:
    """The Java in a folder; None where there is none."""
    home = home.resolve()
    command = home / "bin" / "java"
    if not os.access(command, os.X_OK):
        return None
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _ask(command, source)
    values = dict(re.findall(r'^(\w+)="?(.*?)"?\s*$', release, flags=re.MULTILINE))
    version = _feature_release(values.get("JAVA_VERSION", ""))
    if version is None:
        return _ask(command, source)
    modules = values.get("MODULES", "").split()
    return Java(home, version, VECTOR_MODULE in modules if modules else None, source)


def read_command(command: Path, source: str) -> Java | None:
    """The Java that a `java` command starts; None where it does not work."""
    real = command.resolve()  # Debian: /usr/bin/java → /etc/alternatives/java → /usr/lib/jvm/…/bin/java
    home = real.parent.parent
    return read_home(home, source) if (home / "release").is_file() else _ask(command, source)


def _ask(command: Path, source: str) -> Java | None:
    """Run `java` to learn about it: no `release` file, or a launcher (jenv, asdf, macOS) that starts another `java`."""
    shown = _output(command, "-XshowSettings:properties", "-version")
    values = dict(re.findall(r"^\s*([\w.]+) = (.*?)\s*$", shown, flags=re.MULTILINE))
    version = _feature_release(values.get("java.specification.version", ""))
    if version is None or "java.home" not in values:
        return None
    has_module = VECTOR_MODULE in _output(command, "--list-modules") if version >= OLDEST else None
    return Java(Path(values["java.home"]).resolve(), version, has_module, source)


def _output(command: Path, *arguments: str) -> str:
    import subprocess

    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _feature_release(version: str) -> int | None:
    match = re.match(r"(?:1\.)?(\d+)", version)  # 1.8.0_392 is Java 8
    return int(match[1]) if match else None
