"""What lies on disk, so that a kill at any moment leaves it whole.

In this order: files and folders that appear complete or not at all; the manifest of a folder, with size and checksum of
every file; whether something has changed; what two processes must not do at once.
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
import shutil
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from pyserini_tasb import __version__
from pyserini_tasb.errors import TasbError, argument, os_errors_explained, shown
from pyserini_tasb.folders import another_folder
from pyserini_tasb.parsing import explained, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

MANIFEST = "manifest.json"
DAMAGED = "the store is damaged: build it again"
LOCK = ".lock"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file; whatever stood at `path` is there until all of the new one is.

    Raises:
        TasbError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place at `path` at the end of the block; until then nothing changes there.

    Raises:
        TasbError: the file cannot be written.
    """
    advice = "check the folder, its permissions and the space on the disk"
    with os_errors_explained(path, expected="a file that can be written", do=advice), _beside(path) as file:
        yield file


@contextlib.contextmanager
def whole_text_file(path: Path) -> Iterator[TextIO]:
    r"""A text file that is there whole or not at all, like `whole_file`; UTF-8, and lines end with \n."""
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()  # its end is the file's, which still has to be brought to the disk


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on leaving, its files are on disk and it becomes `target`.

    What a killed build left beside `target` is removed by the next one. After an exception nothing is left.

    Args:
        target: absent or empty, unless `overwrite`.
        overwrite: replace a store at `target`, once the new one is complete. Only a folder that holds nothing but
            what its manifest lists is replaced.

    Raises:
        TasbError: `target` is in the way, is being built by another process, or the disk refuses.
    """
    target = target.absolute()
    refuse_occupied(target, overwrite=overwrite)
    beside = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock_file(target.with_name(f"{target.name}.lock")):
            _make_empty(beside)
            try:
                yield beside
                _sync(beside)
                _swap(beside, target)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
    except OSError as error:
        raise TasbError(
            where=str(error.filename or target),
            expected=f"room and permission to write {target}",
            found=error.strerror or str(error),
            do="check the folder and the disk, then run it again",
        ) from error


def refuse_occupied(target: Path, *, overwrite: bool) -> None:
    """Refuse a folder that `new_folder` may not replace.

    Raises:
        TasbError: there is something at `target`, and `overwrite` is not set or it is more than a store.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise TasbError(
            where=str(target),
            expected="a new or empty folder",
            found="something is there already",
            do=f"choose another folder, or add {argument('overwrite', True)} to replace a store",
        )
    strangers = _strangers(target)
    if strangers:
        raise TasbError(
            where=str(target),
            expected="a store to replace, and nothing else in its folder",
            found=", ".join(strangers[:5]) + (", …" if len(strangers) > 5 else ""),
            do="choose another folder, or move these files away",
        )


def _strangers(target: Path) -> list[str]:
    if not (target / MANIFEST).is_file():
        return [f"no {MANIFEST}"]
    known = {MANIFEST, *listed_files(target)}
    here = (path.relative_to(target).as_posix() for path in sorted(target.rglob("*")) if not path.is_dir())
    return [name for name in here if name not in known]


def _make_empty(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _swap(beside: Path, target: Path) -> None:
    old = target.with_name(f"{target.name}.{os.getpid()}.old")
    if target.exists():
        target.rename(old)
    try:
        beside.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(folder: Path, kind: str, version: int, content: Mapping[str, Any], *, name: str = MANIFEST) -> None:
    """Write the manifest of the finished files in `folder`; a store inside it is covered by its own manifest.

    Args:
        folder: all files of it and the manifests of its sub-folders are listed.
        kind: e.g. `pair store`.
        version: of the format.
        content: what else the manifest says.
        name: of the manifest's file.
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
            expected=f"a {kind} of version {version}",
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
    return f"pyserini-tasb {kind}"


def _not_a_store(folder: Path, kind: str, unknown: str) -> TasbError:
    otherwise = "check the path; `tasb pairs` builds pair stores, `tasb validation-set` validation sets"
    found, do = another_folder(folder, f"a {kind}", otherwise, unknown=unknown)
    return TasbError(where=str(folder), expected=f"a {kind}", found=found, do=do)


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

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    with os_errors_explained(folder, expected="a folder to write to", do="choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _hold(folder / LOCK)
    with _held(folder / LOCK, handle):
        yield handle


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """A file that is there while one process holds it; what a killed process left behind holds nobody up.

    It is yielded open: whoever writes for this process gets it, too, and holds the lock as long as it lives.

    A file, not the folder itself: NFS locks only what is open for writing. Not filelock's: that leaves its file behind,
    also in folders that have to be empty, and where a file system knows no locks it makes files that outlive a kill.

    Raises:
        HeldError: another process does.
        OSError: it cannot be made.
    """
    handle = _hold(path)
    with _held(path, handle):
        yield handle


def _hold(path: Path, *, create: bool = True) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        try:
            _lock(handle, path)
            # Not one that its holder has just removed: beside it a third process may make a new one.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextlib.contextmanager
def _held(path: Path, handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(handle)
        # Not while a process holds it that got it from us: beside a new file it would exclude nobody.
        with contextlib.suppress(HeldError, OSError):
            last = _hold(path, create=False)
            try:
                path.unlink()
            finally:
                os.close(last)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):  # a full disk
            os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
    except BlockingIOError as error:
        raise HeldError(
            where=str(path),
            expected="one process at a time here",
            found=f"another one is at work{_holder(handle)}",
            do="wait until it is done or stop it, or choose another folder",
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _holder(handle: int) -> str:
    """Who wrote into the lock's file, in brackets; empty where nobody has yet."""
    holder = os.pread(handle, 200, 0).decode(errors="replace").partition("\n")[0]
    return f" ({holder})" if holder else ""
