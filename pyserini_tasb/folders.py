"""Kinds of folders, recognised by their files, and suggestions if one is missing or of another kind."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.parsing import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


FAISS, LUCENE, VECTORS, MODEL = "a Faiss index", "a Lucene index", "a vector folder", "a model"
TRAINING, STUDY, CLUSTERS = "a training run", "a study", "clusters of queries"
_FILES = {
    FAISS: {"index", "docid"},
    MODEL: {"config.json"},
    TRAINING: {"config.yaml", "checkpoints"},
    STUDY: {"study.json"},
    CLUSTERS: {"clusters.tsv"},
}
MANIFEST, FORMAT = "manifest.json", "pyserini-tasb "  # a manifest's `format` begins so; `vector folder` may follow
# What makes the wanted kind of the kind that was given.
_MADE_BY = {
    (FAISS, VECTORS): "`tasb index --vectors {folder} --output INDEX` makes an index of it",
    (FAISS, LUCENE): "search it with `python -m pyserini.search.lucene`, and with `--dense` if it has vectors",
    (FAISS, MODEL): f"a model is for {argument('encoder')}; `tasb encode` makes vectors, and `tasb index` their index",
    (LUCENE, MODEL): f"a model is for {argument('encoder')}; give an index here",
    (VECTORS, MODEL): f"a model is for {argument('encoder')}; `tasb encode` makes such folders with it",
}
NO_FOLDER = "no such folder"
FILES_SHOWN, FOLDERS_SHOWN = 8, 3


def at_home(path: str | PathLike[str]) -> Path:
    """A path with the user's folder for `~`; `~NAME` of no user is a name like any other."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """True if a folder exists. For a name that no file system takes, `Path.is_dir` raises; here the answer is no."""
    try:
        return at_home(path).is_dir()
    except OSError:
        return False


def kind_of_folder(folder: Path) -> str | None:
    """The kind of a folder: one of those above, or of a store, such as `a pair store`; None if it is unknown."""
    names = _names(folder)
    if any(name.startswith("segments_") for name in names):
        return LUCENE
    if MANIFEST in names:
        with contextlib.suppress(TasbError):
            written = str(read_json(folder / MANIFEST).get("format"))
            if written.startswith(FORMAT):
                return f"a {written.removeprefix(FORMAT)}"
    return next((kind for kind, files in _FILES.items() if files <= names), None)


def another_folder(path: Path, wanted: str, otherwise: str, *, unknown: str | None = None) -> tuple[str, str]:
    """An error's `found` and `do` for a path that should be a folder of some kind.

    Args:
        path: what was given.
        wanted: the kind that it should be, as `kind_of_folder` says it.
        otherwise: the advice where nothing better is known.
        unknown: what to say of a folder of no known kind; by default, which files it has.
    """
    if not is_folder(path):
        found, meant = missing_folder(path)
        return found, meant or otherwise
    kind = kind_of_folder(path)
    if kind == wanted:  # in which something is wrong
        return unknown or listing(path), otherwise
    near = [str(folder) for folder in _beside(path) if kind_of_folder(folder) == wanted]
    if near:
        more = " …" if len(near) > FOLDERS_SHOWN else ""
        do = f"did you mean `{' '.join(near[:FOLDERS_SHOWN])}{more}`?"
    else:
        do = _MADE_BY.get((wanted, str(kind)), otherwise).replace("{folder}", str(path))
    return kind or unknown or listing(path), do


def _beside(folder: Path) -> Iterator[Path]:
    """The folders in a folder, and the one that it is in."""
    yield from (folder / name for name in sorted(_names(folder)) if is_folder(folder / name))
    yield folder.absolute().parent


def missing_folder(path: Path) -> tuple[str, str | None]:
    """An error's `found` for a folder that does not exist; and for its `do`, which folder may have been meant."""
    whole = at_home(path)
    if whole.parent != whole and is_folder(whole.parent) and whole.name in _names(whole.parent):
        return "a file", "if you mean its folder, give that"
    parent = next((folder for folder in whole.parents if is_folder(folder)), None)
    if parent is None:
        return NO_FOLDER, None
    above_it = len(parent.parts) > whole.is_absolute()  # and not just the root, or the folder that one is in
    found = NO_FOLDER + (f", though {parent} exists" if above_it else "")
    missing, *rest = whole.relative_to(parent).parts
    folders = sorted(name for name in _names(parent) if is_folder(parent / name))
    for near in difflib.get_close_matches(missing, folders, n=1):
        deeper = parent.joinpath(near, *rest)
        return found, f"did you mean `{deeper if is_folder(deeper) else parent / near}`?"
    return found, None


def listing(folder: Path) -> str:
    """The first files of a folder, for a message."""
    names = sorted(_names(folder))
    shown = ", ".join(names[:FILES_SHOWN]) + (", …" if len(names) > FILES_SHOWN else "")
    return f"a folder with {shown}" if names else "an empty folder"


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()
