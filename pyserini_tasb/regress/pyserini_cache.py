"""Where Pyserini keeps what it downloads, and topics for it that need no download."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.resolver import bundled_files
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pyserini_tasb.recipes import Prebuilt

FOLDERS = {"faiss": "indexes", "lucene": "indexes", "queries": "queries"}
# Anserini's names for the files of topics that this package bundles.
TOPICS = {
    "dl19-passage": "topics.dl19-passage.txt",
    "dl20-passage": "topics.dl20.txt",
    "msmarco-passage-dev-subset": "topics.msmarco-passage.dev-subset.txt",
}


def cache_folder() -> Path:
    """Pyserini's cache."""
    return Path(os.environ.get("PYSERINI_CACHE") or "~/.cache/pyserini").expanduser()


def unpacked(archive: Prebuilt) -> Path:
    """The folder that Pyserini unpacks an archive to."""
    return cache_folder() / FOLDERS[archive.kind] / f"{archive.archive.removesuffix('.tar.gz')}.{archive.md5}"


def lay_out_topics(home: Path) -> None:
    """Write the bundled topics to where Anserini looks for them before it downloads them.

    Pyserini has no topics of its own, and its addresses for them have moved. `home` instead of the user's own folder:
    nothing there is to be changed.
    """
    folder = home / ".cache" / "pyserini" / "topics-and-qrels"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in bundled_files("topics").items():
        if name in TOPICS:
            write_whole(folder / TOPICS[name], gzip.decompress(path.read_bytes()))


def topics_environment(home: Path) -> dict[str, str]:
    """Variables that make Java take `home` for the user's folder."""
    options = os.environ.get("JAVA_TOOL_OPTIONS", "")
    return {"JAVA_TOOL_OPTIONS": f"{options} '-Duser.home={home.absolute()}'".strip()}
