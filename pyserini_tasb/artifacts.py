"""Files and folders on disk, which a kill at any moment leaves whole.

In this order: files that appear complete or not at all; the manifest of a folder, with size and checksum of every file;
whether something has changed; what two processes must not do at once. `outputs.py` has what a user names to be written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from pyserini_tasb import __version__
from pyserini_tasb.errors import TasbError, os_errors_explained, shown, with_article
from pyserini_tasb.folders import FORMAT, MANIFEST, another_folder
from pyserini_tasb.parsing import explained, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

DAMAGED = "the store is damaged: build it again"
LOCK, PART = ".lock", ".part"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file; whatever stood at `path` is there until all of the new one is.

    Raises:
        TasbError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name at the end of the block; until then nothing changes at `path`.

    Processes that write the same file come one after the other.

    Raises:
        TasbError: the file cannot be written.
    """
    with errors_of_writing(path), part_file(path, wait=True) as part:
        with part.opened() as file:
            yield file
        part.put_in_place()


@contextlib.contextmanager
def whole_text_file(path: Path) -> Iterator[TextIO]:
    r"""A text file that is there whole or not at all, like `whole_file`; UTF-8, and lines end with \n."""
    with whole_file(path) as file, as_text(file) as text:
        yield text


@contextlib.contextmanager
def as_text(file: BinaryIO) -> Iterator[TextIO]:
    r"""A file to write text to: UTF-8, and lines end with \n. The end of the block does not close the file."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
    yield text
    text.flush()
    text.detach()  # its end is the file's, which still has to be brought to the disk


def errors_of_writing(path: Path) -> AbstractContextManager[None]:
    """Whatever the operating system refuses while a file is written, as a TasbError."""
    advice = "check the folder, its permissions and the space on the disk"
    return os_errors_explained(path, expected="a file that can be written", do=advice)


class Part:
    """`NAME.part`, a file in the making, as `part_file` yields it.

    Attributes:
        path: its path.
    """

    def __init__(self, whole: Path, path: Path, handle: int) -> None:
        self._whole, self.path, self._handle = whole, path, handle

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file to write, empty; at the end of the block it is on the disk."""
        os.ftruncate(self._handle, 0)
        with os.fdopen(self._handle, "wb", closefd=False) as file:
            yield file
            file.flush()
            os.fsync(self._handle)

    def put_in_place(self) -> None:
        """Give the file its name; what had the name before is gone."""
        self.path.replace(self._whole)


@contextlib.contextmanager
def part_file(path: Path, *, wait: bool = False) -> Iterator[Part]:
    """Hold `PATH.part`, the file in which the content of `path` gathers; unless it is put in its place, it is removed.

    The name is always the same, so that what a killed process left is written over. The lock is on the file itself:
    there is no other file that could stay behind.

    Args:
        path: the whole file.
        wait: wait for another process that holds it.

    Raises:
        HeldError: another process holds it.
        OSError: it cannot be made.
    """
    part = path.with_name(f"{path.name}{PART}")
    handle = _hold(part, wait=wait)
    try:
        yield Part(path, part, handle)
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), part.stat()):  # not another's, once ours is in its place
                part.unlink()
        os.close(handle)


@contextlib.contextmanager
def made_parents(path: Path) -> Iterator[None]:
    """Make the folders above a path; if the block fails, those that it made and left empty are gone.

    Raises:
        OSError: they cannot be made.
    """
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_manifest(folder: Path, kind: str, version: int, content: Mapping[str, Any], *, name: str = MANIFEST) -> None:
    """Write the manifest of the finished files in `folder`; a store inside it is covered by its own manifest.

    Args:
        folder: all files of it and the manifests of its sub-folders are listed.
        kind: e.g. `pair store`.
        version: the version of the format.
        content: what else the manifest says.
        name: the name of the manifest's file.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != name)
    paths += sorted(folder.glob(f"*/{MANIFEST}"))
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths
    }
    fingerprint = hashlib.sha256(json.dumps([kind, version, files], sort_keys=True).encode()).hexdigest()
    manifest = {"format": _format(kind), "version": version, "fingerprint": fingerprint, **content, "files": files}
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str, version: int, *, name: str = MANIFEST) -> dict[str, Any]:
    """Read the manifest; every file it lists is there in full size, and unless it is large, with its checksum.

    Raises:
        TasbError: not such a store, of a newer format, or a file is missing or damaged.
    """
    if not (folder / name).is_file():
        raise _not_a_store(folder, kind, f"no {name} in it")
    manifest = _parse(folder / name, kind)
    if manifest["format"] != _format(kind):
        raise _not_a_store(folder, kind, str(manifest["format"]))
    if manifest["version"] != version:
        raise TasbError(
            where=str(folder),
            expected=f"{with_article(kind)} of version {version}",
            found=f"version {manifest['version']}",
            do="install the pyserini-tasb that wrote it, or build it again",
        )
    for listed, file in manifest["files"].items():
        path = folder / listed
        size = path.stat().st_size if path.is_file() else None
        if size != file["bytes"]:
            found = "no such file" if size is None else f"{size} bytes"
            raise _damaged(path, f"{file['bytes']} bytes", found)
        if size <= DIGESTED_BYTES:
            _require_checksum(path, file["sha256"])
    return manifest


def values_explained(folder: Path, *, name: str = MANIFEST) -> AbstractContextManager[None]:
    """A block that uses what a manifest says: a value that is missing or of another type becomes a TasbError."""
    return explained(folder / name, expected="the values that it was written with", do=DAMAGED)


def verify_files(folder: Path, *, name: str = MANIFEST) -> None:
    """Compare every file with its checksum; reads all of them.

    Raises:
        TasbError: naming the first file that is different.
    """
    for path, wanted in _checksums(folder / name).items():
        _require_checksum(path, wanted)


def _require_checksum(path: Path, wanted: str) -> None:
    found = sha256(path) if path.is_file() else "no such file"
    if found != wanted:
        raise _damaged(path, f"sha256 {wanted}", found)


def listed_files(folder: Path) -> list[str]:
    """The files that the manifest lists, and those that the manifests of its sub-folders list; relative paths."""
    return [path.relative_to(folder).as_posix() for path in _checksums(folder / MANIFEST)]


def _checksums(manifest: Path) -> dict[Path, str]:
    found = {}
    for name, file in _parse(manifest, "store")["files"].items():
        path = manifest.parent / name
        found[path] = str(file["sha256"])
        if path.name == MANIFEST and path.is_file():
            found.update(_checksums(path))
    return found


def _parse(path: Path, kind: str) -> dict[str, Any]:
    manifest = read_json(path, do=DAMAGED)
    if not {"format", "version", "files"} <= manifest.keys():
        raise _not_a_store(path.parent, kind, f"a {path.name} of something else")
    with explained(path, expected="files with their sizes and checksums", do=DAMAGED):
        for name, file in manifest["files"].items():
            if not (isinstance(file["bytes"], int) and isinstance(file["sha256"], str)):
                raise TypeError(f"{shown(name)}: {shown(file)}")
    return manifest


def _format(kind: str) -> str:
    return FORMAT + kind


def _not_a_store(folder: Path, kind: str, unknown: str) -> TasbError:
    otherwise = "check the path; `tasb pairs` builds pair stores, `tasb validation-set` validation sets"
    found, do = another_folder(folder, f"a {kind}", otherwise, unknown=unknown)
    return TasbError(where=str(folder), expected=with_article(kind), found=found, do=do)


def _damaged(path: Path, expected: str, found: str) -> TasbError:
    return TasbError(where=str(path), expected=expected, found=found, do=DAMAGED)


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of a JSON file that says what another file is of.

    A file that is not there, or is damaged, says nothing: whatever it is beside is made again.
    """
    try:
        return read_json(path)
    except TasbError:
        return {}


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# An index can have 27 GB: what is larger than this together goes by size and time.
DIGESTED_BYTES = 64 << 20


def file_state(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their names; of more than 64 MiB, their size and latest change.

    Raises:
        OSError: nothing there, or it cannot be read.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    size = sum(stat.st_size for stat in stats)
    if size > DIGESTED_BYTES:
        return f"{size} bytes, changed {max(stat.st_mtime_ns for stat in stats)}"
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            name = str(file.relative_to(path)).encode()
            digest.update(name + b"\0" + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package, and of those of `packages` that are installed."""
    # An editable install's metadata is as old as the install: our own version is asked of the code.
    import importlib.metadata  # slow, and few need it

    versions = {"python": sys.version.split()[0], "pyserini-tasb": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


class HeldError(TasbError):
    """Another process holds the lock."""


# Some network file systems know no locks, Lustre for one unless it is mounted with them: work goes on without.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[int]:
    """Make a folder, and keep out every other process that asks in this way; as `lock_file`.

    After an error it is gone if it is empty.

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    with contextlib.ExitStack() as held:
        with os_errors_explained(folder, expected="a folder to write to", do="choose another folder"):
            held.enter_context(made_parents(folder / LOCK))
            handle = held.enter_context(lock_file(folder / LOCK))
        yield handle


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """A lock file, held by one process at a time. A file that a killed process left behind blocks no other process.

    It is yielded open: a process that writes for this one gets it, too, and holds the lock as long as it lives.

    A file, not the folder itself: NFS locks only what is open for writing. Not filelock's: that leaves its file behind,
    also in folders that have to be empty, and where a file system knows no locks it makes files that outlive a kill.

    Raises:
        HeldError: another process does.
        OSError: it cannot be made.
    """
    handle = _hold(path)
    with _held(path, handle):
        yield handle


def locks_work(folder: Path) -> bool:
    """True if the folder's file system keeps a second process out of a file that one has locked."""
    path = folder / f"{platform.node()}-{os.getpid()}{LOCK}"
    try:
        with lock_file(path), lock_file(path):
            return False
    except HeldError:
        return True


def _hold(path: Path, *, wait: bool = False, create: bool = True) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        try:
            _lock(handle, path, wait=wait)
            # Not one that its holder has just removed, or given another name: a third process may make a new one.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    with contextlib.suppress(OSError):  # a full disk
                        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


TRIES, SECONDS_BETWEEN_TRIES = 5, 0.02


@contextlib.contextmanager
def _held(path: Path, handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            _remove_free(path)


def _remove_free(path: Path) -> None:
    """Remove a lock's file, but not while a process that got it from us holds it: a new file would not exclude it."""
    for _ in range(TRIES):
        try:
            last = _hold(path, create=False)
        except HeldError:
            time.sleep(SECONDS_BETWEEN_TRIES)  # any process that we start has it for a moment, until it runs a program
            continue
        try:
            path.unlink()
        finally:
            os.close(last)
        return


def _lock(handle: int, path: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HeldError(
            where=str(path),
            expected="one process at a time here",
            found=f"another one is running{_holder(handle)}",
            do="wait until it ends, stop it, or choose another folder",
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _holder(handle: int) -> str:
    """The process that wrote into the lock's file, in brackets; empty if the file is empty."""
    holder = re.match(r"process \d+ on \S+", os.pread(handle, 200, 0).decode(errors="replace"))
    return f" ({holder[0]})" if holder else ""
