"""A folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.folder_lock import lock_file
from pyserini_tasb.texts.manifest import MANIFEST, listed_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
            do="choose another folder, or add --overwrite to replace a store",
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
