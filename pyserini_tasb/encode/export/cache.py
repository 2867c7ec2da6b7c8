"""Exported models by what they were made of, so that each is exported once."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encode.backends.machine import int8_weight_bits
from pyserini_tasb.encode.backends.onnx_folder import damage, is_exported
from pyserini_tasb.encode.export.packages import require_packages
from pyserini_tasb.encode.model_digest import folder_digest
from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.texts.new_folder import new_folder

if TYPE_CHECKING:
    from pyserini_tasb.encode.export.folder import ExportPrecision
    from pyserini_tasb.recipes import EncoderCard

# Of how models are exported: a new one makes all be exported again.
VERSION = 2
ABANDONED_SECONDS = 3_600


def cache_folder() -> Path:
    """Where exported models are kept: under `$XDG_CACHE_HOME`, or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "pyserini-tasb" / "onnx"


def is_cached(card: EncoderCard, precision: ExportPrecision) -> bool:
    """True if the card's model has been exported before, and none of its files is damaged."""
    return _is_whole(_place(card, precision))


def cached_export(card: EncoderCard, precision: ExportPrecision) -> Path:
    """The folder of the card's exported model; exports it first where there is no export, or a damaged one.

    Two processes that need it at once both export it; the first to be done puts its folder in place, and the other
    takes that one.

    Raises:
        TasbError: packages are missing, the model lost too much accuracy, or the disk refuses.
    """
    target = _place(card, precision)
    if _is_whole(target):
        return target
    if target.exists():
        print(f"pyserini-tasb: {target} is damaged ({damage(target) or 'no graph'})", file=sys.stderr)
    require_packages()
    from pyserini_tasb.encode.export.folder import export_model
    from pyserini_tasb.encode.export.sample import built_in_sample

    print(f"pyserini-tasb: exporting {card.model} to ONNX in {precision}, once, into {target}", file=sys.stderr)
    advice = "check the folder and the disk, or set XDG_CACHE_HOME to another folder"
    with os_errors_explained(target.parent, expected="a folder to keep exported models in", do=advice):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        own = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}")
        with new_folder(own) as folder:
            export_model(card, folder, precision, built_in_sample())
        _put_in_place(own, target)
    return target


def _place(card: EncoderCard, precision: ExportPrecision) -> Path:
    source = find_checkpoint(card.model, allow_bin=card.allow_bin)
    parts = [VERSION, folder_digest(source), card.pooling, card.normalise, precision]
    if precision == "int8":
        parts.append(int8_weight_bits())
    return cache_folder() / hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    return is_exported(folder) and not damage(folder)


def _put_in_place(own: Path, target: Path) -> None:
    if target.is_dir() and not _is_whole(target):
        shutil.rmtree(target)
    try:
        own.rename(target)
    except OSError:
        if not _is_whole(target):
            raise
        shutil.rmtree(own)


def _remove_abandoned(target: Path) -> None:
    """Remove what killed exports of this model left."""
    for path in target.parent.glob(f"{target.name}.*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
