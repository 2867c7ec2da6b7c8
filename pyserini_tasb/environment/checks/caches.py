"""The folders that things are downloaded to."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from pyserini_tasb.environment.finding import Finding, ok, warning

ENOUGH = 2 * 1024**3  # bytes: TAS-B's weights take 0.3 GB, Pyserini's topics and a small index the rest


def check_caches() -> list[Finding]:
    """Pyserini's cache, Hugging Face's, and the folder of the user's own recipes."""
    from huggingface_hub import constants

    from pyserini_tasb.recipes import user_folder

    return [
        _pyserini(Path(os.environ.get("PYSERINI_CACHE") or "~/.cache/pyserini").expanduser()),
        _folder("Hugging Face cache", Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE"),
        _folder("your recipes", user_folder("encoders").parent, "PYSERINI_TASB_HOME"),
    ]


def _pyserini(folder: Path) -> Finding:
    finding = _folder("Pyserini cache", folder, "PYSERINI_CACHE")
    java_folder = Path(".cache/pyserini")
    if not java_folder.parent.is_dir() or java_folder.resolve() == folder.resolve():
        return finding
    found = f"{finding.found}; but what Java downloads goes to {java_folder.resolve()}, as there is a ./.cache"
    return warning(finding.name, found, f"ln -s {shlex.quote(str(folder))} .cache/pyserini")


def _folder(name: str, folder: Path, variable: str) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{folder}{'' if existing == folder else ' (not there yet)'}, {free / 1024**3:.1f} GiB free"
    elsewhere = f"export {variable}=/a/folder/with/room"
    if not os.access(existing, os.W_OK | os.X_OK):
        return warning(name, f"{found}, not writable: nothing new can be stored", elsewhere)
    return warning(name, f"{found}: little", elsewhere) if free < ENOUGH else ok(name, found)
