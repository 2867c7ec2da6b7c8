"""Files that are on this machine already: found by name, verified, and linked or unpacked, never copied."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.train.data.msmarco.contents import contents_of, difference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyserini_tasb.train.data.msmarco.files import DataFile, TrainingFiles
    from pyserini_tasb.train.data.msmarco.verified_folder import VerifiedFolder


class LocalCopies:
    """Copies of published files in a folder and its subfolders.

    Args:
        files: what to look for, plain or in their archives.
        source: where.

    Raises:
        TasbError: the folder cannot be read.
    """

    def __init__(self, files: TrainingFiles, source: Path) -> None:
        self._files, self._source = files, source
        names = {name for file in files.data_files for name in (file.name, *file.aliases, *file.packed_in)}
        self._found = _named(source, names)
        self._faults: list[str] = []

    def take(self, wanted: Iterable[DataFile], here: VerifiedFolder) -> list[DataFile]:
        """Link to plain files, unpack those in archives: of each the first right copy, the shallowest first.

        Args:
            wanted: which files.
            here: where they belong.

        Returns:
            Those that the folder has not.

        Raises:
            TasbError: a wanted file is there, but no copy of it is as published. All such copies are named.
        """
        faults, absent = [], []
        for file in wanted:
            self._faults = []
            if here.has(file) or self._link(file, here) or self._unpack(file, here):
                continue  # the first: it was in an archive with another one
            if self._faults:
                faults += self._faults
            else:
                absent.append(file)
        if faults:
            raise TasbError(
                where=str(self._source),
                expected="files as they were published",
                found="\n    ".join(["others:", *faults]),
                do="remove or replace them; what is not in this folder is downloaded",
            )
        return absent

    def _link(self, file: DataFile, here: VerifiedFolder) -> bool:
        for path in self._copies(file.name, *file.aliases):
            contents = contents_of(path)
            fault = difference(contents, md5=file.md5, rows=file.rows)
            if fault is None:
                here.link(file, path, contents)
                return True
            self._faults.append(f"{path}: {fault[1]}, not {fault[0]}")
        return False

    def _unpack(self, file: DataFile, here: VerifiedFolder) -> bool:
        for path in self._copies(*file.packed_in):
            fault = difference(contents_of(path), md5=self._files.download_named(path.name).md5)
            if fault is None:
                packed = [other for other in self._files.data_files if path.name in other.packed_in]
                here.unpack(path, [other for other in packed if not here.has(other)])
                return True
            self._faults.append(f"{path}: {fault[1]}, not {fault[0]}")
        return False

    def _copies(self, *names: str) -> list[Path]:
        return [path for name in names for path in self._found.get(name, ())]


def _named(source: Path, names: set[str]) -> dict[str, list[Path]]:
    with os_errors_explained(source, expected="a folder to take files from", do="check --source"):
        os.listdir(source)  # noqa: PTH208 - os.walk, below, passes over what it cannot read
    found: dict[str, list[Path]] = {}
    for folder, _, entries in os.walk(source.resolve()):
        for name in names.intersection(entries):
            found.setdefault(name, []).append(Path(folder) / name)
    for paths in found.values():
        paths.sort(key=lambda path: (len(path.parts), path))
    return found
