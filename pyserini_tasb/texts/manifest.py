"""`manifest.json`: what a store's folder holds, with size and checksum of every file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
DAMAGED = "the store is damaged: build it again"


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
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in paths
    }
    fingerprint = hashlib.sha256(json.dumps([kind, version, files], sort_keys=True).encode()).hexdigest()
    manifest = {"format": _format(kind), "version": version, "fingerprint": fingerprint, **content, "files": files}
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str, version: int, *, name: str = MANIFEST) -> dict[str, Any]:
    """Read the manifest; every file it lists is there in full size.

    Raises:
        TasbError: not such a store, of a newer format, or a file is missing or has another size.
    """
    if not (folder / name).is_file():
        found = "no such folder" if not folder.exists() else "a file" if folder.is_file() else f"no {name} in it"
        raise _not_a_store(folder, kind, found)
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
    return manifest


def verify_files(folder: Path, *, name: str = MANIFEST) -> None:
    """Compare every file with its checksum; reads all of them.

    Raises:
        TasbError: naming the first file that is different.
    """
    for path, wanted in _checksums(folder / name).items():
        found = checksum(path) if path.is_file() else "no such file"
        if found != wanted:
            raise _damaged(path, f"sha256 {wanted}", found)


def listed_files(folder: Path) -> list[str]:
    """The files that the manifest lists, and those that the manifests of its sub-folders list; relative paths."""
    return [path.relative_to(folder).as_posix() for path in _checksums(folder / MANIFEST)]


def checksum(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(manifest: Path) -> dict[Path, str]:
    found = {}
    for name, file in _parse(manifest, "store")["files"].items():
        path = manifest.parent / name
        found[path] = str(file["sha256"])
        if path.name == MANIFEST and path.is_file():
            found.update(_checksums(path))
    return found


def _parse(path: Path, kind: str) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path, "JSON", str(error)) from error
    if not isinstance(manifest, dict) or not {"format", "version", "files"} <= manifest.keys():
        raise _not_a_store(path.parent, kind, f"a {path.name} of something else")
    return manifest


def _format(kind: str) -> str:
    return f"pyserini-tasb {kind}"


def _not_a_store(folder: Path, kind: str, found: str) -> TasbError:
    return TasbError(
        where=str(folder),
        expected=f"a {kind}",
        found=found,
        do="check the path; `tasb data pairs` builds pair stores, `tasb data validation` validation sets",
    )


def _damaged(path: Path, expected: str, found: str) -> TasbError:
    return TasbError(where=str(path), expected=expected, found=found, do=DAMAGED)
