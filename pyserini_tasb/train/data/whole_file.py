"""Write a text file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, TextIO

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    r"""Write beside `path`; at the end of the block put it in its place. Lines end with \n.

    Raises:
        TasbError: the folder is not there or the disk refuses. Whatever stood at `path` before is still there.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise TasbError(
            where=str(path),
            expected="a file that can be written",
            found=error.strerror or str(error),
            do="check the folder and the disk",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
