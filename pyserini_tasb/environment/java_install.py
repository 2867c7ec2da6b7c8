"""What to type to get a Java that runs Pyserini. Standard library only."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

CONDA = "conda install -c conda-forge 'openjdk>=21'"
HOMEBREW = (
    "brew install openjdk@21 && "
    'export JAVA_HOME="$(brew --prefix openjdk@21)/libexec/openjdk.jdk/Contents/Home" PATH="$JAVA_HOME/bin:$PATH"'
)
APT = "sudo apt install openjdk-21-jdk-headless"
# Needs no root, and ~/.jdks is among the folders we search. Debian 12 has Java 17 only, in its backports as well.
TEMURIN = (
    "mkdir -p ~/.jdks && curl -fL "
    "https://api.adoptium.net/v3/binary/latest/21/ga/linux/{machine}/jdk/hotspot/normal/eclipse | tar xz -C ~/.jdks"
)
FIRST_DEBIAN = 13


def install_advice() -> str:
    """One command per line, any of which is enough; the first suits this machine best."""
    if os.environ.get("CONDA_PREFIX") or Path(sys.prefix, "conda-meta").is_dir():
        return CONDA
    if platform.system() == "Darwin":
        return HOMEBREW
    temurin = TEMURIN.format(machine={"x86_64": "x64"}.get(platform.machine(), platform.machine()))
    return f"{APT}\n{temurin}" if _apt_has_it() else temurin


def _apt_has_it() -> bool:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    if "ubuntu" in (system["ID"], *system.get("ID_LIKE", "").split()):
        return True
    version = system.get("VERSION_ID", "")  # testing and unstable have none
    return system["ID"] == "debian" and (not version.isdigit() or int(version) >= FIRST_DEBIAN)
