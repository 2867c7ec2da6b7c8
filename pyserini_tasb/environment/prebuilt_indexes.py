"""Pyserini's prebuilt indexes, by name."""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import prepare_java

if TYPE_CHECKING:
    from collections.abc import Iterator


def prebuilt_index(name: str) -> Path:
    """The folder of an index, which Pyserini downloads if it is not there.

    Args:
        name: such as `msmarco-v1-passage`.

    Raises:
        LookupError: no such name, or no way to download it; in one line.
    """
    with _failures_in_one_line():
        from pyserini.util import download_prebuilt_index

        return Path(download_prebuilt_index(name))


def prebuilt_text_index(name: str) -> Path:
    """The same for an index that may store text: others have gigabytes of vectors to download, in vain.

    Raises:
        LookupError: also a name of another kind.
    """
    with _failures_in_one_line():
        from pyserini.prebuilt_index_info import FAISS_INDEX_INFO, LUCENE_FLAT_INDEX_INFO, LUCENE_HNSW_INDEX_INFO

        without_text = name in {*FAISS_INDEX_INFO, *LUCENE_FLAT_INDEX_INFO, *LUCENE_HNSW_INDEX_INFO}
    if without_text:
        raise LookupError(f"Pyserini's {name} is an index of vectors, without text")
    return prebuilt_index(name)


@contextmanager
def _failures_in_one_line() -> Iterator[None]:
    """Raises LookupError for whatever the network or Pyserini raise. What these print goes to stderr."""
    prepare_java()  # Pyserini 2 asks Anserini for the names
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # each raises its own
        lines = str(error).strip().splitlines()
        raise LookupError(f"Pyserini says: {lines[0] if lines else repr(error)}") from error
