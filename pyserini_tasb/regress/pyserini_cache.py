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
    folder = _java_cache(home) / "topics-and-qrels"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in bundled_files("topics").items():
        if name in TOPICS:
            write_whole(folder / TOPICS[name], gzip.decompress(path.read_bytes()))


def topics_environment(home: Path) -> dict[str, str]:
    """Variables that make Java look for its cache in `home`: Anserini 1 knows the first property, 2 the second."""
    properties = {"user.home": home.absolute(), "pyserini.cache": _java_cache(home.absolute())}
    options = [os.environ.get("JAVA_TOOL_OPTIONS", ""), *(f"'-D{name}={value}'" for name, value in properties.items())]
    return {"JAVA_TOOL_OPTIONS": " ".join(filter(None, options))}


def _java_cache(home: Path) -> Path:
    return home / ".cache" / "pyserini"
