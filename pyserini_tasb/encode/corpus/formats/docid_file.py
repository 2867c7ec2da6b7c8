"""Pyserini's `docid` file: one docid a line, in the order of the vectors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@contextlib.contextmanager
def docid_file(folder: Path) -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that appends docids to the file `docid` of a folder."""
    with (folder / "docid").open("w", encoding="utf-8", newline="\n") as file:
        yield lambda docids: file.writelines(f"{docid}\n" for docid in docids)
