"""All files of the recipe, from copies on this machine or from the internet; none is used unverified."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.contents import contents_of, difference
from pyserini_tasb.train.data.msmarco.disk import in_words, require_room
from pyserini_tasb.train.data.msmarco.download import Internet, set_aside
from pyserini_tasb.train.data.msmarco.local_copies import LocalCopies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.train.data.msmarco.files import DataFile, Download, TrainingFiles
    from pyserini_tasb.train.data.msmarco.verified_folder import VerifiedFolder

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
