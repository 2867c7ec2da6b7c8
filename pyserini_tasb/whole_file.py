"""Files that are there whole or not at all: written beside, brought to the disk, then renamed."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, BinaryIO, TextIO

from pyserini_tasb.errors import os_errors_explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    r"""As `whole_file`, for UTF-8 text whose lines end with \n."""
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
