"""`doctor`: checks of this machine, and of the files of indexes."""

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
    """Check this machine, or indexes and vector folders; each problem comes with the command that fixes it.

    Args:
        folders: an index or vector folder, or several, whose files are read completely. By default the machine is
            checked: its Python, packages, Java, caches and the connection to the Hugging Face hub.

    Returns:
        A finding for each check. Problems are findings, too, and raise no error.
    """
    folders = (folders,) if isinstance(folders, str | os.PathLike) else folders
    if not folders:
        return examine()
    return examine({str(folder): functools.partial(check_folder, Path(folder)) for folder in folders})


# Exports are of a room above the one that has the other checks.
CHECKS["int8"] = check_int8


def check_folder(folder: Path) -> list[Finding]:
    """Compare the files of an index or a vector folder with their checksums. This reads all files.

    Other programs' Faiss folders have no checksums: their two files must open and belong together.
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
    return f"every file is unchanged; encoders: {', '.join(each.name for each in encoders) or 'unknown'}"


def _foreign(folder: Path) -> Finding:
    if is_faiss_folder(folder):
        open_folder(folder)
    found = (
        f"no {INDEX_MANIFEST}: another program or an earlier version made this index, so its files cannot be checked"
    )
    return Finding(str(folder), "warning", found)


def _checked_vectors(folder: Path) -> str:
    from pyserini_tasb.encoding.vectors import VectorFolder

    vectors = VectorFolder(folder)
    vectors.verify()
    return f"{vectors.count:,} vectors; every unit is unchanged"


def _checked_formats(folder: Path) -> list[Finding]:
    """The index that `tasb encode` put into a vector folder for others to read."""
    return check_folder(folder / "faiss") if (folder / "faiss" / INDEX).is_file() else []
