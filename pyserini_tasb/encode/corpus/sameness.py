"""Vectors of two models, two corpora or two sets of options never come into one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.corpus.vector_manifest import MANIFEST, read_vector_manifest
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.encode.corpus.vector_manifest import VectorManifest

# What is told for a digest, which says nothing to a reader.
DIFFERENT = {"card": "another encoder (its card, tokenizer or weights)", "corpus": "another corpus, or a changed one"}


def folder_manifest(folder: Path) -> VectorManifest | None:
    """The manifest of a folder that was begun; None if nothing was.

    Raises:
        TasbError: something else is in the folder.
    """
    return read_vector_manifest(folder) if (folder / MANIFEST).exists() else None


def require_same(folder: Path, manifest: VectorManifest, asked: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder whose vectors are of something else.

    Args:
        folder: the vector folder.
        manifest: its manifest.
        asked: values of the manifest or of its `about`, as they would be now.

    Raises:
        TasbError: naming what differs; nothing was changed.
    """
    known = {**vars(manifest), **manifest.about}
    differences = [
        DIFFERENT.get(name, f"{name} {known.get(name)}, not {value}")
        for name, value in asked.items()
        if known.get(name) != value
    ]
    if differences:
        raise TasbError(
            where=str(folder),
            expected="a new folder, or one begun by this same command",
            found="vectors of " + "; ".join(differences),
            do="give the command it was begun with, or choose another --output; what is there was not changed",
        )
