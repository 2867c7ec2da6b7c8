"""Which versions made a result."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from pyserini_tasb import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package, and of those of `packages` that are installed."""
    # An editable install's metadata is as old as the install: our own version is asked of the code.
    versions = {"python": sys.version.split()[0], "pyserini-tasb": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
