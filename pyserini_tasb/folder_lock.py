"""Keeping two processes out of each other's folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


class HeldError(TasbError):
    """Another process holds the lock."""


# Some network file systems know no locks, Lustre for one unless it is mounted with them: work goes on without.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and keep out every other process that asks in this way.

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    with os_errors_explained(folder, expected="a folder to write to", do="choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _hold(folder / LOCK)
    with _held(folder / LOCK, handle):
        yield


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """A file that is there while one process holds it; what a killed process left behind holds nobody up.

    A file, not the folder itself: NFS locks only what is open for writing.

    Raises:
        HeldError: another process does.
        OSError: it cannot be made.
    """
    with _held(path, _hold(path)):
        yield


def _hold(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HeldError(
            where=str(path),
            expected="one process at a time here",
            found="another one is at work",
            do="wait until it is done or stop it, or choose another folder",
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
