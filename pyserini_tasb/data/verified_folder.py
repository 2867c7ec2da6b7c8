"""A folder of verified files, from copies on this machine or from the internet; none is used unverified."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import zlib
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyserini_tasb.artifacts import whole_text_file
from pyserini_tasb.data.downloads import (
    Contents,
    Internet,
    contents_of,
    copy,
    difference,
    in_words,
    require_room,
    set_aside,
)
from pyserini_tasb.errors import TasbError, os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyserini_tasb.data.msmarco import DataFile, Download, TrainingFiles


def unpack(archive: Path, members: Mapping[str, Path]) -> dict[str, Contents]:
    """Copy the named members of an archive, in one pass over it; the progress is shown.

    Nothing is extracted in tar's sense: a member gives its bytes only, its path, links, owner and mode are not used.

    Args:
        archive: tar, plain or compressed; its checksum has been verified.
        members: file name in the archive, whatever folder it is in there → the new file to write.

    Returns:
        What was written, by the name in the archive.

    Raises:
        TasbError: the archive is damaged or lacks a member, or a file cannot be written.
    """
    from tqdm import tqdm

    done: dict[str, Contents] = {}
    try:
        with tarfile.open(archive, "r|*") as tar, tqdm(desc=f"unpack {archive.name}", unit="B", unit_scale=True) as bar:
            for entry in tar:
                name = PurePosixPath(entry.name).name
                if name in members and name not in done and entry.isreg():
                    content = cast("BinaryIO", tar.extractfile(entry))
                    done[name] = copy(content, members[name], bar.update)
                if len(done) == len(members):
                    break
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise _fault(archive, str(error), members) from error
    absent = sorted(members.keys() - done.keys())
    if absent:
        raise _fault(archive, f"no {', '.join(absent)} in it", members)
    return done


def _fault(archive: Path, found: str, members: Mapping[str, Path]) -> TasbError:
    return TasbError(
        where=str(archive),
        expected=f"a whole tar archive with {', '.join(members)}",
        found=found,
        do="remove it, so that another copy is taken; or unpack it yourself and name the folder with --source",
    )


# --------
# Files that are on this machine already: found by name, verified, and linked or unpacked, never copied.


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


# --------
# Which files of a folder were verified, so that they need not be read again while they stay as they were.

LEDGER = "verified.json"


class Ledger:
    """Name → size, md5, rows, time of the last change, and what vouched for the file; kept in `verified.json`.

    Args:
        folder: whose files these are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            entries = json.loads((folder / LEDGER).read_bytes())
        except (OSError, ValueError):  # as good as none: all is verified again
            entries = {}
        self._entries: dict[str, dict[str, Any]] = entries if isinstance(entries, dict) else {}

    def contents(self, name: str) -> Contents | None:
        """The contents of a file that was verified and is still the same; a changed time makes it be read again."""
        entry, path = self._entries.get(name), self._folder / name
        try:
            noted = Contents(entry["size"], entry["md5"], entry["rows"]) if entry else None
            stat = path.stat()
        except (OSError, KeyError, TypeError):
            return None
        if entry is None or noted is None or stat.st_size != noted.size:
            return None
        if stat.st_mtime_ns != entry.get("changed"):
            if contents_of(path) != noted:
                return None
            self.note(name, noted, entry.get("vouched", ""))
        return noted

    def knows(self, name: str) -> bool:
        """Whether a file of that name was verified once, whatever it is like now."""
        return name in self._entries

    def vouched(self, name: str) -> str:
        """What vouched for a file, in words."""
        return str(self._entries[name]["vouched"])

    def note(self, name: str, contents: Contents, vouched: str) -> None:
        """Note that the file of that name was verified.

        Args:
            name: relative to the folder; a link stands for the file that it leads to.
            contents: its size, md5 and rows.
            vouched: by what, in words, e.g. `md5`.
        """
        changed = (self._folder / name).stat().st_mtime_ns
        self._entries[name] = {**asdict(contents), "changed": changed, "vouched": vouched}
        with whole_text_file(self._folder / LEDGER) as file:
            json.dump(self._entries, file, indent=1)


# --------
# The folder with the plain files of the recipe: nothing is in it under its name that was not verified.


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


# --------
# All files of the recipe, from copies on this machine or from the internet; none is used unverified.

ARCHIVES = "archives"
TERMS = (
    "MS MARCO is for non-commercial research only; by downloading it you accept its terms: "
    "https://microsoft.github.io/msmarco/Datasets#terms-and-conditions"
)


def acquire(
    files: TrainingFiles,
    here: VerifiedFolder,
    *,
    source: Path | None = None,
    internet: Internet | None = None,
    reserve: int = 0,
) -> None:
    """Have every file in `here`: those already there stay, then `source` is searched, then they are downloaded.

    Args:
        files: which files.
        here: where they belong.
        source: a folder with copies, plain or in their archives.
        internet: None: nothing is downloaded.
        reserve: bytes that must stay free for what comes later.

    Raises:
        TasbError: a file is missing or not as published; the disk has no room.
    """
    absent = [file for file in files.data_files if not here.has(file)]
    if absent and source:
        absent = LocalCopies(files, source).take(absent, here)
    if absent and internet is None:
        raise _missing(absent, source)
    if absent and internet:
        _download(absent, files, here, internet, reserve)


def _download(
    absent: Sequence[DataFile],
    files: TrainingFiles,
    here: VerifiedFolder,
    internet: Internet,
    reserve: int,
) -> None:
    archives = here.folder / ARCHIVES
    needed: dict[str, list[DataFile]] = {}
    for file in absent:
        needed.setdefault(file.packed_in[0] if file.packed_in else file.name, []).append(file)
    fresh = [files.download_named(name) for name in needed if not (archives / name).exists()]
    unpacked = sum(file.about for file in absent if file.packed_in)
    total = sum(download.about for download in fresh)
    print(f"{TERMS}\nto download: {', '.join(needed)}; together about {in_words(total)}", file=sys.stderr)
    require_room(here.folder, total + unpacked + reserve, "downloads, unpacked files and the pair store")
    archives.mkdir(exist_ok=True)
    for name, wanted in needed.items():
        download = files.download_named(name)
        if wanted[0].packed_in:
            here.unpack(_archive(download, archives, internet), wanted)
        else:
            contents = internet.fetch(download, here.path(wanted[0]))
            here.accept(wanted[0], contents, f"from {internet.address(download)}")


def _archive(download: Download, archives: Path, internet: Internet) -> Path:
    path = archives / download.name
    if path.exists():
        if difference(contents_of(path), md5=download.md5) is None:
            return path
        set_aside(path, path.name)
    internet.fetch(download, path)
    return path


def _missing(absent: Sequence[DataFile], source: Path | None) -> TasbError:
    names = "\n    ".join(" or ".join((file.name, *file.packed_in)) for file in absent)
    return TasbError(
        where=str(source) if source else "--skip-download",
        expected="all files on this machine, as nothing is to be downloaded",
        found=f"none of\n    {names}",
        do="name their folder with --source, or leave out --skip-download",
    )
