"""Outputs: files and folders that the user names, checked before slow work and never half written.

One rule for what exists: a verb that can go on continues its own work; every other refuses, and replaces with
`overwrite`, once the new one is complete. The folders above an output are made. `-` is standard output.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from pyserini_tasb.artifacts import (
    LOCK,
    PART,
    as_text,
    errors_of_writing,
    listed_files,
    lock_file,
    made_parents,
    part_file,
    whole_file,
)
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.folders import MANIFEST, at_home, listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from pyserini_tasb.artifacts import Part
    from pyserini_tasb.errors import Argument

STANDARD_OUTPUT = "-"
SPOOLED_BYTES = 64 << 20


@contextlib.contextmanager
def new_file(
    path: str | os.PathLike[str], *, overwrite: bool = False, inputs: object = (), name: str = "output"
) -> Iterator[NewFile]:
    """One file that the block writes, as `new_files` yields several."""
    with new_files([path], overwrite=overwrite, inputs=inputs, name=name) as (file,):
        yield file


@contextlib.contextmanager
def optional_file(
    path: str | os.PathLike[str] | None, *, overwrite: bool = False, inputs: object = (), name: str = "output"
) -> Iterator[NewFile | None]:
    """One file for a verb that may write none: None if no path is given."""
    with contextlib.ExitStack() as stack:
        given = None if path is None else new_file(path, overwrite=overwrite, inputs=inputs, name=name)
        yield None if given is None else stack.enter_context(given)


@contextlib.contextmanager
def new_files(
    paths: Iterable[str | os.PathLike[str]], *, overwrite: bool = False, inputs: object = (), name: str = "output"
) -> Iterator[list[NewFile]]:
    """Files that the block writes; at its end all that were written take their places, one after the other.

    Enter it before slow work. After an exception, what existed before still exists, and nothing else.

    Args:
        paths: the files; `-` is standard output, which gets what was written at the end of the block.
        overwrite: replace files that exist.
        inputs: arguments of the verb that may be paths, or lists of them. An output is none of them.
        name: the argument that the user named the files by, for errors.

    Raises:
        TasbError: a file exists, or is no file or an input; it cannot be written; or another process is writing it.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_claimed(_file_path(path, name), overwrite, inputs, name)) for path in paths]
        yield files
        for file in files:
            file.put_in_place()


class NewFile:
    """A file that a verb writes, as `new_files` yields it.

    Attributes:
        path: its path, `-` for standard output.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self.path, self._part, self._written = path, part, False

    @property
    def written_at(self) -> Path:
        """Where its content is until it is put in its place."""
        return self._part.path

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, to write all of it.

        Raises:
            TasbError: the disk refuses.
        """
        with errors_of_writing(self.path), self._part.opened() as file:
            yield file
        self._written = True

    @contextlib.contextmanager
    def opened_as_text(self) -> Iterator[TextIO]:
        r"""The same for text: UTF-8, and lines end with \n."""
        with self.opened() as file, as_text(file) as text:
            yield text

    def write(self, content: str | bytes) -> None:
        """Write all of it.

        Raises:
            TasbError: the disk refuses.
        """
        with self.opened() as file:
            file.write(content.encode() if isinstance(content, str) else content)

    @contextlib.contextmanager
    def folder_beside(self, what: str) -> Iterator[Path]:
        """An empty folder beside the file for the time of the block, `NAME.WHAT.part`; a killed process's is emptied.

        Raises:
            TasbError: the disk refuses to make it.
        """
        folder = self.path.with_name(f"{self.path.name}.{what}{PART}")
        with errors_of_writing(folder):
            _make_empty(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put_in_place(self) -> None:
        """Give it its name, if it was written.

        Raises:
            TasbError: the disk refuses.
        """
        if self._written:
            with errors_of_writing(self.path):
                self._part.put_in_place()


def opened(output: Path | NewFile) -> AbstractContextManager[BinaryIO]:
    """A file to write: one of `new_file`, or one at a path, which is replaced at the end of this block."""
    return output.opened() if isinstance(output, NewFile) else whole_file(output)


class StandardOutput(NewFile):
    """Standard output, which gets everything at once: a verb that fails in the middle prints nothing."""

    def __init__(self, spool: Any) -> None:
        self.path, self._spool, self._written = Path(STANDARD_OUTPUT), spool, False

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The spool, which gets all of what is to be printed."""
        yield self._spool
        self._written = True

    @contextlib.contextmanager
    def folder_beside(self, what: str) -> Iterator[Path]:
        """An empty folder for the time of the block, among the system's temporary ones."""
        with tempfile.TemporaryDirectory(prefix=f"tasb-{what}-") as folder:
            yield Path(folder)

    def put_in_place(self) -> None:
        """Print it."""
        self._spool.seek(0)
        sys.stdout.flush()
        binary = getattr(sys.stdout, "buffer", None)
        if binary is None or sys.stdout.isatty():  # a notebook; a terminal, where `cli/streams.py` escapes controls
            sys.stdout.write(self._spool.read().decode())
            sys.stdout.flush()
            return
        shutil.copyfileobj(self._spool, binary)
        binary.flush()


def _file_path(path: str | os.PathLike[str], name: str) -> Path:
    if os.fspath(path).endswith(os.sep):
        raise TasbError(
            where=os.fspath(path),
            expected="a new file",
            found="the name of a folder: it ends in /",
            do=f"choose another {_mentioned(name)}",
        )
    return Path(path)


@contextlib.contextmanager
def _claimed(path: Path, overwrite: bool, inputs: object, name: str) -> Iterator[NewFile]:
    if is_standard_output(path):
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spool:
            yield StandardOutput(spool)
        return
    require_new_file(path, overwrite=overwrite, inputs=inputs, name=name)
    with contextlib.ExitStack() as held:
        with _errors_of_claiming(path, "file", name):
            held.enter_context(made_parents(path))
            part = held.enter_context(part_file(path))
            remove_left_parts(path)
        require_new_file(path, overwrite=overwrite, inputs=inputs, name=name)  # another process may just have ended
        yield NewFile(path, part)


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """True if an output is `-`, standard output."""
    return os.fspath(path) == STANDARD_OUTPUT


def require_new_file(path: Path, *, overwrite: bool = False, inputs: object = (), name: str = "output") -> None:
    """Refuse a file that may not be written, as `new_files` does; whether it could be written is not tried.

    Raises:
        TasbError: it exists, or is no file or an input.
    """
    if not os.path.lexists(path):
        return
    another = f"choose another {argument(name)}"
    found, do = "it exists", f"{another}, or add {argument('overwrite', True)} to replace it"
    if path.is_dir():
        found, do = "a folder", another
    elif path.exists() and not path.is_file():
        found, do = "something that is not a file", f"{another}; - is standard output"
    elif any(_is_same(path, given) for given in _paths(inputs)):
        found, do = "it is also an input", another
    elif overwrite:
        return
    raise TasbError(where=str(path), expected="a new file", found=found, do=do)


def _paths(given: object) -> Iterator[str | os.PathLike[str]]:
    if isinstance(given, str | os.PathLike):
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _paths(each)


def _is_same(path: Path, given: str | os.PathLike[str]) -> bool:
    with contextlib.suppress(OSError, ValueError):  # no path, but a name
        return at_home(given).samefile(path)
    return False


def remove_left_parts(path: Path) -> None:
    """Remove parts of earlier versions, whose names had the number of a process, if that process is gone.

    Raises:
        OSError: the folder cannot be read.
    """
    for part in _numbered(path, PART):
        try:
            os.kill(int(part.suffixes[-2][1:]), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (OSError, OverflowError):  # another user's, or no number of a process
            continue


def _numbered(path: Path, suffix: str) -> list[Path]:
    pattern = re.compile(re.escape(path.name) + r"\.\d+" + re.escape(suffix))
    return [each for each in path.parent.iterdir() if pattern.fullmatch(each.name)]


def _errors_of_claiming(path: Path, kind: str, name: str) -> AbstractContextManager[None]:
    expected = f"a {kind} that can be written{' to' if kind == 'folder' else ''}"
    require_no_file_above(path, expected, name=name)
    advice = f"check the folder and its permissions, or choose another {_mentioned(name)}"
    return os_errors_explained(path, expected=expected, do=advice)


def require_no_file_above(path: Path, expected: str, *, name: str = "output") -> None:
    """Refuse a path that has a file where a folder would have to be: the system only says that something exists.

    Raises:
        TasbError: naming that file.
    """
    with contextlib.suppress(OSError):  # a name that is too long: writing says so
        for parent in path.absolute().parents:
            if parent.is_file():
                do = f"choose another {_mentioned(name)}"
                raise TasbError(where=str(path), expected=expected, found=f"{parent} is a file", do=do)


def require_folder(folder: Path, *, name: str = "output", ours: Sequence[str] = ()) -> None:
    """Refuse a folder that cannot be made or written to. It is tried, and nothing of the trial stays.

    For verbs that go on with what is in a folder, or add to it.

    Args:
        folder: new or not.
        name: the argument that the user named it by, or a key of a configuration in backquotes.
        ours: names, of which every folder of the verb's making has one; by default, other files do no harm.

    Raises:
        TasbError: it is a file, it has other files and none of `ours`, or the system refuses.
    """
    _require_no_stream(folder, name)
    with _errors_of_claiming(folder, "folder", name):
        others = [] if not ours or not folder.is_dir() else sorted(path.name for path in folder.iterdir())
        if set(others) - {LOCK} and not set(ours) & set(others):
            raise TasbError(
                where=str(folder),
                expected="a folder that is new, empty, or of an earlier run of the same command",
                found=listing(folder),
                do=f"choose another {_mentioned(name)}",
            )
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        # Not in its own name: another process that makes it at this moment could lose it.
        with tempfile.TemporaryDirectory(prefix=".tasb-", dir=existing) as tried:
            Path(tried, folder.absolute().relative_to(existing)).mkdir(parents=True, exist_ok=True)


def _mentioned(name: str) -> Argument | str:
    return name if name.startswith("`") else argument(name)


def _require_no_stream(folder: Path, name: str) -> None:
    if is_standard_output(folder):
        found = f"{STANDARD_OUTPUT}, which is standard output for a verb that writes one file"
        raise TasbError(expected="a folder", found=found, do=f"choose another {_mentioned(name)}")


@contextlib.contextmanager
def new_folder(
    target: Path, *, overwrite: bool = False, inputs: object = (), made: Sequence[str] = (MANIFEST,)
) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on leaving, its files are on disk and it becomes `target`.

    What a killed build left beside `target` is removed by the next one. After an exception nothing is left.

    Args:
        target: absent or empty, unless `overwrite`.
        overwrite: replace what is at `target`, once the new one is complete; but only a folder of our making.
        inputs: arguments of the verb that may be paths, or lists of them, none of which is in `target`.
        made: patterns of the files in a folder that we made. The first one must exist; a manifest lists its own files.

    Raises:
        TasbError: `target` is in the way, is being built by another process, or the disk refuses.
    """
    _require_no_stream(target, "output")
    target = target.absolute()
    beside = target.with_name(f"{target.name}{PART}")
    try:
        with made_parents(target), lock_file(_lock_of(target)):
            _restore(target, made)
            _refuse_occupied(target, overwrite, inputs, made)
            _make_empty(beside)
            try:
                yield beside
                for path in (*beside.rglob("*"), beside):
                    _sync(path)
                replace_folder(beside, target)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
    except OSError as error:
        raise TasbError(
            where=str(error.filename or target),
            expected=f"space and permission to write {target}",
            found=error.strerror or str(error),
            do="check the folder and the disk, then repeat the command",
        ) from error


def require_new_folder(
    target: Path, *, overwrite: bool = False, inputs: object = (), made: Sequence[str] = (MANIFEST,)
) -> None:
    """Refuse what `new_folder` would refuse, with the same arguments: before the slow work that comes before it.

    Raises:
        TasbError: likewise.
    """
    _require_no_stream(target, "output")
    target = target.absolute()
    with _errors_of_claiming(target, "folder", "output"):
        if _lock_of(target).exists():
            with lock_file(_lock_of(target)):  # refuses if it is held
                _restore(target, made)
        _refuse_occupied(target, overwrite, inputs, made)
    require_folder(target.with_name(f"{target.name}{PART}"))


def _lock_of(target: Path) -> Path:
    return target.with_name(f"{target.name}{LOCK}")


def _refuse_occupied(target: Path, overwrite: bool, inputs: object, made: Sequence[str]) -> None:
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    another = f"choose another {argument('output')}"
    if not target.is_dir():
        raise TasbError(where=str(target), expected="a new or empty folder", found="a file", do=another)
    if not overwrite:
        raise TasbError(
            where=str(target),
            expected="a new or empty folder",
            found="it exists",
            do=f"{another}, or add {argument('overwrite', True)} to replace it",
        )
    strangers = _strangers(target, made)
    if strangers:
        raise TasbError(
            where=str(target),
            expected="a folder to replace with only files that pyserini-tasb wrote",
            found=", ".join(strangers[:5]) + (", …" if len(strangers) > 5 else ""),
            do=f"{another}, or move these files away",
        )
    within = [str(given) for given in _paths(inputs) if _is_within(given, target)]
    if within:
        raise TasbError(
            where=str(target), expected="a folder without inputs", found=f"{within[0]} is an input", do=another
        )


def _is_within(given: str | os.PathLike[str], folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        path = at_home(given)
        return path.exists() and path.resolve().is_relative_to(folder.resolve())
    return False


def _strangers(target: Path, made: Sequence[str]) -> list[str]:
    here = [path.relative_to(target).as_posix() for path in sorted(target.rglob("*")) if not path.is_dir()]
    if not fnmatch.filter(here, made[0]):
        return [f"no {made[0]}"]
    known = [*made, *map(_literal, listed_files(target))] if made[0] == MANIFEST else made
    return [name for name in here if not any(fnmatch.fnmatchcase(name, pattern) for pattern in known)]


def _is_ours(folder: Path, made: Sequence[str]) -> bool:
    with contextlib.suppress(TasbError):  # a damaged manifest
        return folder.is_dir() and not _strangers(folder, made)
    return False


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _make_empty(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_folder(beside: Path, target: Path) -> None:
    """Put a complete folder in the place of another one, which is removed, or where there is none.

    Raises:
        OSError: the disk refuses; the other one is still there.
    """
    old = _replaced(target)
    if target.exists():
        target.rename(old)
    try:
        beside.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _replaced(target: Path) -> Path:
    return target.with_name(f"{target.name}.replaced{PART}")  # not `.old`, which people call their own copies


def _restore(target: Path, made: Sequence[str]) -> None:
    """Undo a replacement that a kill interrupted: put the old folder back, or remove it if the new one has its name."""
    # The second name was that of earlier versions; it may also be that of somebody's own copy.
    left = [_replaced(target), *(old for old in _numbered(target, ".old") if _is_ours(old, made))]
    for old in left:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            old.rename(target)
