"""The folder with the plain files of the recipe: nothing is in it under its name that was not verified."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.archive import unpack
from pyserini_tasb.train.data.msmarco.contents import Contents, contents_of, difference
from pyserini_tasb.train.data.msmarco.download import set_aside
from pyserini_tasb.train.data.msmarco.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pyserini_tasb.train.data.msmarco.files import DataFile


class VerifiedFolder:
    """Plain files, or links to them, each with a note of what vouched for it.

    Args:
        folder: new, or of an earlier run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger(folder)

    def path(self, file: DataFile) -> Path:
        """Where a file is, once it is here."""
        return self.folder / file.name

    def has(self, file: DataFile) -> bool:
        """Whether a file is here and verified; one that has changed since is put aside, so that it comes anew."""
        path = self.path(file)
        contents = self._ledger.contents(file.name)
        if contents is None and path.exists() and not self._ledger.knows(file.name):
            contents = contents_of(path)  # put here by hand
            if difference(contents, md5=file.md5, rows=file.rows) is None:
                self._note(file, contents, "put there by hand")
        if contents and difference(contents, md5=file.md5, rows=file.rows) is None:
            return True
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            aside = set_aside(path, file.name)
            print(f"{path} is not the file that was published, or has changed: kept as {aside}", file=sys.stderr)
        return False

    def vouched(self, file: DataFile) -> str:
        """What vouched for a file, in words."""
        return self._ledger.vouched(file.name)

    def md5(self, file: DataFile) -> str:
        """The md5 of a file that is here."""
        contents = self._ledger.contents(file.name)
        return contents.md5 if contents else ""

    def link(self, file: DataFile, source: Path, contents: Contents) -> None:
        """Link to a verified file elsewhere."""
        self.path(file).unlink(missing_ok=True)
        self.path(file).symlink_to(source.absolute())
        self._note(file, contents, f"in {source.parent}")

    def accept(self, file: DataFile, contents: Contents, origin: str) -> None:
        """Note a file that was downloaded to its place.

        Raises:
            TasbError: it has another number of rows than published.
        """
        self._require(file, contents, self.path(file))
        self._note(file, contents, origin)

    def unpack(self, archive: Path, files: Iterable[DataFile]) -> None:
        """Take the plain files out of a verified archive.

        Raises:
            TasbError: they are not in it, or one has another number of rows than published; the disk is full.
        """
        parts = {file: self.folder / f"{file.name}.part" for file in files}
        try:
            contents = unpack(archive, {file.name: part for file, part in parts.items()})
            for file, part in parts.items():
                self._require(file, contents[file.name], part)
                part.replace(self.path(file))
                self._note(file, contents[file.name], f"from {archive.name}", by_archive=True)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)

    def _note(self, file: DataFile, contents: Contents, origin: str, *, by_archive: bool = False) -> None:
        by = "md5 of the archive" if by_archive else "md5" if file.md5 else "number of rows"
        self._ledger.note(file.name, contents, f"{by}; {origin}")

    def _require(self, file: DataFile, contents: Contents, path: Path) -> None:
        wrong = difference(contents, rows=file.rows)
        if wrong:
            aside = set_aside(path, file.name)
            raise TasbError(
                where=str(aside),
                expected=wrong[0],
                found=wrong[1],
                do="report this: the checksum is right, and yet the file is not what was described",
            )
