"""Files out of a tar archive, each copied whole under a name of ours."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.contents import Contents, copy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
