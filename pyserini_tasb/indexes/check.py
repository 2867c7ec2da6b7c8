"""`tasb doctor`: whether this machine has what it takes, or the files of indexes are those that were written."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encoding.index_manifest import INDEX_MANIFEST, index_encoders, verify_index
from pyserini_tasb.encoding.onnx_runtime import check_int8
from pyserini_tasb.environment.checks import Finding, ok
from pyserini_tasb.environment.doctor import CHECKS, Findings, examine
from pyserini_tasb.errors import TasbError
from pyserini_tasb.folders import FAISS, another_folder
from pyserini_tasb.indexes.faiss_folder import INDEX, is_faiss_folder, is_lucene_folder, open_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.results import StrPath


def doctor(folders: StrPath | Sequence[StrPath] = ()) -> Findings:
    """Check this machine, or indexes and vector folders, and say what to type where something is wrong.

    Args:
        folders: an index or vector folder, or several; all of each is read. By default the machine is checked: its
            Python, packages, Java, caches and the way to the hub.

    Returns:
        A finding for each thing that was looked at. A problem is a finding, and raises nothing.
    """
    folders = (folders,) if isinstance(folders, str | os.PathLike) else folders
    if not folders:
        return examine()
    return examine({str(folder): functools.partial(check_folder, Path(folder)) for folder in folders})


# Exports are of a room above the one that has the other checks.
CHECKS["int8"] = check_int8


def check_folder(folder: Path) -> list[Finding]:
    """Compare an index or a vector folder with its checksums; reads all of it.

    Faiss folders that are not ours have no checksums: their two files must open and belong together.
    """
    from pyserini_tasb.encoding.vectors import MANIFEST

    name = str(folder)
    try:
        if (folder / INDEX_MANIFEST).is_file():
            return [ok(name, _checked_index(folder))]
        if is_faiss_folder(folder) or is_lucene_folder(folder):
            return [_foreign(folder)]
        if (folder / MANIFEST).is_file():
            return [ok(name, _checked_vectors(folder)), *_checked_formats(folder)]
    except TasbError as error:
        found = f"{error.where}: expected {error.expected}, found {error.found}; {error.do}"
        return [Finding(name, "problem", found)]
    instead, do = another_folder(folder, FAISS, "check the path")
    found = f"{instead}: neither a Faiss nor a Lucene index, nor a folder of `tasb encode`; {do}"
    return [Finding(name, "problem", found)]


def _checked_index(folder: Path) -> str:
    encoders = index_encoders(folder)
    if is_faiss_folder(folder):
        open_folder(folder)
    verify_index(folder)
    return f"every file is as it was written; encoders: {', '.join(each.name for each in encoders) or 'not known'}"


def _foreign(folder: Path) -> Finding:
    if is_faiss_folder(folder):
        open_folder(folder)
    found = f"no {INDEX_MANIFEST}: not an index of ours, or one of an earlier version: its files cannot be checked"
    return Finding(str(folder), "warning", found)


def _checked_vectors(folder: Path) -> str:
    from pyserini_tasb.encoding.vectors import VectorFolder

    vectors = VectorFolder(folder)
    vectors.verify()
    return f"{vectors.count:,} vectors; every unit is as it was written"


def _checked_formats(folder: Path) -> list[Finding]:
    """The index that `tasb encode` put into a vector folder for others to read."""
    return check_folder(folder / "faiss") if (folder / "faiss" / INDEX).is_file() else []
