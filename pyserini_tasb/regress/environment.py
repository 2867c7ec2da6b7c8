"""What a result depends on besides its commands: versions, Java, the machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import find_java, java_environment
from pyserini_tasb.versions import installed_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = (
    "pyserini",
    "transformers",
    "tokenizers",
    "torch",
    "faiss-cpu",
    "faiss-gpu",
    "onnxruntime",
    "numpy",
    "ir-measures",
    "pytrec-eval-terrier",
)


def versions() -> dict[str, str]:
    """Of the packages that numbers can depend on, of the Anserini jar that Pyserini brings, and of Java."""
    found = installed_versions(PACKAGES)
    jar = _anserini_version()
    if jar:
        found["anserini"] = jar
    java = find_java()
    if java:
        found["java"] = str(java.version)
    return found


def machine() -> dict[str, str]:
    """Of what kind this one is."""
    return {"system": platform.platform(), "processor": _processor(), "cpus": str(os.cpu_count())}


def command_environment() -> dict[str, str]:
    """Variables for commands: a Java that Pyserini runs on, and one order of equal scores in its hybrid search."""
    java = find_java()
    return {**(java_environment(java) if java else {}), "PYTHONHASHSEED": "0"}


def moved(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Versions that differ, before and now; None where it was not installed."""
    names = sorted({*before, *now})
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _anserini_version() -> str | None:
    spec = importlib.util.find_spec("pyserini")  # imported, it would start a JVM
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for jar in (Path(folder) / "resources" / "jars").glob("anserini-*-fatjar.jar"):
            return jar.name.removeprefix("anserini-").removesuffix("-fatjar.jar")
    return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.machine()
