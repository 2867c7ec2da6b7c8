"""Indexes by the names that Pyserini downloads them by."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from pyserini_tasb.environment.java import ensure_java


def prebuilt_index(name: str) -> Path:
    """The folder of an index, which Pyserini downloads if it is not there.

    Args:
        name: such as `msmarco-v1-passage`.

    Raises:
        LookupError: no such name, or no way to download it; in one line.
    """
    ensure_java()  # Pyserini 2 asks Anserini for the names
    try:
        with redirect_stdout(sys.stderr):  # what it prints while it downloads
            from pyserini.util import download_prebuilt_index

            return Path(download_prebuilt_index(name))
    except Exception as error:  # the network and Pyserini each raise their own
        lines = str(error).strip().splitlines()
        raise LookupError(f"Pyserini says: {lines[0] if lines else repr(error)}") from error
