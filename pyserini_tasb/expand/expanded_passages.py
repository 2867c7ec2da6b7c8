"""Expanded passages as files that `pyserini.index.lucene` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def shard_path(folder: Path, number: int) -> Path:
    """The file of a folder's shard, counted from 0."""
    return folder / f"{number:06}.jsonl"


def write_shard(path: Path, passages: Iterable[tuple[str, str, str]]) -> int:
    """Write a file of passages, which is there once all of it is on disk; the number of passages.

    Args:
        path: the file.
        passages: docid, text, and the predicted queries joined by spaces.

    Raises:
        TasbError: it cannot be written.
    """
    count = 0
    with whole_text_file(path) as out:
        for docid, text, queries in passages:
            contents = f"{text} {queries}".strip()
            out.write(json.dumps({"id": docid, "contents": contents}, ensure_ascii=False) + "\n")
            count += 1
    return count


def require_new(folder: Path) -> None:
    """Refuse a folder that is there: Anserini would index what else lies in it.

    Raises:
        TasbError: it is.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise TasbError(
            where=str(folder),
            expected="a new or empty folder",
            found="something is there already",
            do="choose another --output, or move this one away",
        )
