"""A folder of verified files, from copies on this machine or from the internet; none is used unverified."""

from __future__ import annotations

import json
import logging
import os
import tarfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.data.downloads import (
    Contents,
    Download,
    Internet,
    check_contents,
    difference,
    in_words,
    read_contents,
    require_room,
    set_aside,
)
from pyserini_tasb.errors import TasbError, argument, os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


LOG = logging.getLogger(__name__)
LEDGER, ARCHIVES = "verified.json", "archives"
TERMS = (
    "MS MARCO is for non-commercial research only; by downloading it you accept its terms: "
    "https://microsoft.github.io/msmarco/Datasets#terms-and-conditions"
)


@dataclass(frozen=True)
class DataFile:
    """One plain file.

    Args:
        name: its file name.
        rows: how many lines it has.
        about: bytes, to see beforehand whether the disk has room.
        md5: the md5 of the plain file; None if the publisher gives none.
        packed_in: names of the archives that hold it; it is downloaded in the first, or if there is none, as it is.
        aliases: other names under which people have it.
    """

    name: str
    rows: int
    about: int
    md5: str | None = None
    packed_in: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def fault(self, found: Contents) -> tuple[str, str] | None:
        """See `difference`."""
        return difference(found, md5=self.md5, rows=self.rows)


@dataclass(frozen=True)
class TrainingFiles:
    """All files that training needs.

    Args:
        collection: pid TAB text.
        train_queries, dev_queries: qid TAB text.
        train_qrels, dev_qrels: TREC's four columns, separated by tabs.
        scores: teacher's score of the positive, of the negative, qid, pid of the positive, of the negative.
        downloads: what there is to download; some only stand here to be recognised on this disk.
    """

    collection: DataFile
    train_queries: DataFile
    train_qrels: DataFile
    dev_queries: DataFile
    dev_qrels: DataFile
    scores: DataFile
    downloads: tuple[Download, ...]

    @property
    def data_files(self) -> tuple[DataFile, ...]:
        """The plain files."""
        return (
            *(self.collection, self.train_queries, self.train_qrels),
            *(self.dev_queries, self.dev_qrels, self.scores),
        )

    def download_named(self, name: str) -> Download:
        """The download of that file name."""
        return next(download for download in self.downloads if download.name == name)


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
        absent = _take_copies(absent, files, source, here)
    if absent and internet:
        _download(absent, files, here, internet, reserve)
    elif absent:
        names = "\n    ".join(" or ".join((file.name, *file.packed_in)) for file in absent)
        raise TasbError(
            where=str(source) if source else f"{argument('skip_download')}",
            expected="all files on this machine, because downloads are not allowed",
            found=f"none of\n    {names}",
            do=f"name their folder with {argument('source')}, or leave out {argument('skip_download')}",
        )


class VerifiedFolder:
    """Plain files, or links to them. Nothing is here under its name that was not verified.

    What vouched for each file is noted in `verified.json`, so that it need not be read again while it stays as it was.

    Args:
        folder: new, or of an earlier run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Name → size, md5, rows, time of the last change (of a link, that of its file), and what vouched for the file.
        self._ledger: dict[str, dict[str, Any]] = read_sidecar(folder / LEDGER)

    def path(self, file: DataFile) -> Path:
        """Where a file is, once it is here."""
        return self.folder / file.name

    def has(self, file: DataFile) -> bool:
        """True if a file is here and verified; one that has changed since is put aside, so that it comes anew."""
        path, contents = self.path(file), self._contents(file.name)
        if contents is None and path.exists() and file.name not in self._ledger:
            contents = check_contents(path)
            if not file.fault(contents):
                self._note(file, contents, "added by hand")
        if contents and not file.fault(contents):
            return True
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            aside = set_aside(path, file.name)
            LOG.warning("%s is not the published file, or has changed: kept as %s", path, aside)
        return False

    def vouched(self, file: DataFile) -> str:
        """The source that vouched for a file, in words."""
        return str(self._ledger[file.name]["vouched"])

    def md5(self, file: DataFile) -> str:
        """The md5 of a file that is here."""
        contents = self._contents(file.name)
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
        _require_rows(file, contents, self.path(file))
        self._note(file, contents, origin)

    def unpack(self, archive: Path, files: Iterable[DataFile]) -> None:
        """Take the plain files out of a verified archive.

        Raises:
            TasbError: they are not in it, or one has another number of rows than published; the disk is full.
        """
        parts = {file: self.folder / f"{file.name}.part" for file in files}
        try:
            contents = _unpack(archive, {file.name: part for file, part in parts.items()})
            for file, part in parts.items():
                _require_rows(file, contents[file.name], part)
                part.replace(self.path(file))
                self._note(file, contents[file.name], f"from {archive.name}", by="md5 of the archive")
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)

    def _contents(self, name: str) -> Contents | None:
        """The contents of a file that was verified and is still the same; a changed time makes it be read again."""
        entry, path = self._ledger.get(name, {}), self.folder / name
        try:
            noted, stat = Contents(entry["size"], entry["md5"], entry["rows"]), path.stat()
        except (OSError, KeyError, TypeError):
            return None
        if stat.st_size != noted.size:
            return None
        if stat.st_mtime_ns != entry.get("changed"):
            if check_contents(path) != noted:
                return None
            self._enter(name, noted, entry.get("vouched", ""))
        return noted

    def _note(self, file: DataFile, contents: Contents, origin: str, *, by: str | None = None) -> None:
        self._enter(file.name, contents, f"{by or ('md5' if file.md5 else 'number of rows')}; {origin}")

    def _enter(self, name: str, contents: Contents, vouched: str) -> None:
        changed = (self.folder / name).stat().st_mtime_ns
        self._ledger[name] = {**asdict(contents), "changed": changed, "vouched": vouched}
        write_whole(self.folder / LEDGER, json.dumps(self._ledger, indent=1))


def _require_rows(file: DataFile, contents: Contents, path: Path) -> None:
    wrong = difference(contents, rows=file.rows)
    if wrong:
        aside = set_aside(path, file.name)
        raise TasbError(
            where=str(aside),
            expected=wrong[0],
            found=wrong[1],
            do="report this: the checksum is right, but the content is not as described",
        )


def _take_copies(
    wanted: Iterable[DataFile], files: TrainingFiles, source: Path, here: VerifiedFolder
) -> list[DataFile]:
    """Take the files of which a folder has right copies; return those of which it has none.

    If all copies of a file are wrong, that is an error, which names them.
    """
    copies = _find_copies(files, source)
    faults, absent = [], []
    for file in wanted:
        if here.has(file):
            continue  # it was in an archive with another one
        taken, wrong = _take_copy(file, files, copies, here)
        if wrong and not taken:
            faults += wrong
        elif not taken:
            absent.append(file)
    if faults:
        raise TasbError(
            where=str(source),
            expected="files as they were published",
            found="\n    ".join(["others:", *faults]),
            do="remove or replace them; files that are not in this folder are downloaded",
        )
    return absent


def _find_copies(files: TrainingFiles, source: Path) -> dict[str, list[Path]]:
    """The files of each name in a folder and its subfolders, the shallowest first."""
    names = {name for file in files.data_files for name in (file.name, *file.aliases, *file.packed_in)}
    with os_errors_explained(source, expected="a folder to take files from", do=f"check {argument('source')}"):
        os.listdir(source)  # noqa: PTH208 - os.walk, below, passes over what it cannot read
    found: dict[str, list[Path]] = {}
    for folder, _, entries in os.walk(source.resolve()):
        for name in names.intersection(entries):
            found.setdefault(name, []).append(Path(folder) / name)
    for paths in found.values():
        paths.sort(key=lambda path: (len(path.parts), path))
    return found


def _take_copy(
    file: DataFile, files: TrainingFiles, copies: Mapping[str, Sequence[Path]], here: VerifiedFolder
) -> tuple[bool, list[str]]:
    """Link to the first right copy, or unpack it; whether there is one, and which copies are wrong."""
    wrong = []
    for name in (file.name, *file.aliases, *file.packed_in):
        packed = name in file.packed_in
        for path in copies.get(name, ()):
            contents = check_contents(path)
            fault = difference(contents, md5=files.download_named(name).md5) if packed else file.fault(contents)
            if fault:
                wrong.append(f"{path}: {fault[1]}, not {fault[0]}")
                continue
            if packed:
                inside = [other for other in files.data_files if name in other.packed_in]
                here.unpack(path, [other for other in inside if not here.has(other)])
            else:
                here.link(file, path, contents)
            return True, wrong
    return False, wrong


def _download(
    absent: Sequence[DataFile], files: TrainingFiles, here: VerifiedFolder, internet: Internet, reserve: int
) -> None:
    archives = here.folder / ARCHIVES
    needed: dict[str, list[DataFile]] = {}
    for file in absent:
        needed.setdefault(file.packed_in[0] if file.packed_in else file.name, []).append(file)
    fresh = [files.download_named(name) for name in needed if not (archives / name).exists()]
    unpacked = sum(file.about for file in absent if file.packed_in)
    total = sum(download.about for download in fresh)
    LOG.warning("%s", TERMS)
    LOG.info("to download: %s; together about %s", ", ".join(needed), in_words(total))
    require_room(here.folder, total + unpacked + reserve, "downloads, unpacked files and the pair store")
    archives.mkdir(exist_ok=True)
    for name, wanted in needed.items():
        download = files.download_named(name)
        if wanted[0].packed_in:
            here.unpack(_fetch_archive(download, archives, internet), wanted)
        else:
            contents = internet.fetch(download, here.path(wanted[0]))
            here.accept(wanted[0], contents, f"from {internet.address(download)}")


def _fetch_archive(download: Download, archives: Path, internet: Internet) -> Path:
    path = archives / download.name
    if path.exists():
        if difference(check_contents(path), md5=download.md5) is None:
            return path
        set_aside(path, path.name)
    internet.fetch(download, path)
    return path


def _unpack(archive: Path, members: Mapping[str, Path]) -> dict[str, Contents]:
    """Copy members of a verified archive, in one pass over it: file name, in whatever folder → the new file.

    Nothing is extracted in tar's sense: a member gives its bytes only, its path, links, owner and mode are not used.
    """
    done: dict[str, Contents] = {}
    try:
        with tarfile.open(archive, "r|*") as tar:
            for entry in tar:
                name = PurePosixPath(entry.name).name
                if name in members and name not in done and entry.isreg():
                    content = cast("BinaryIO", tar.extractfile(entry))
                    done[name] = read_contents(content, f"unpacking {name}", entry.size, into=members[name])
                if len(done) == len(members):
                    break
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise _bad_archive(archive, str(error), members) from error
    absent = sorted(members.keys() - done.keys())
    if absent:
        raise _bad_archive(archive, f"no {', '.join(absent)} in it", members)
    return done


def _bad_archive(archive: Path, found: str, members: Mapping[str, Path]) -> TasbError:
    return TasbError(
        where=str(archive),
        expected=f"a whole tar archive with {', '.join(members)}",
        found=found,
        do="remove it, so that another copy is used; or unpack it yourself and name the folder with "
        f"{argument('source')}",
    )
