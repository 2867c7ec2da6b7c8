from __future__ import annotations

import pytest

from pyserini_tasb.formats.text_store import write_text_store


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """Nine queries and twelve passages, to build pair stores from."""
    folder = tmp_path_factory.mktemp("texts")
    return [
        write_text_store(folder / kind, ((f"{kind[0]}{number}", f"{kind} {number}") for number in range(count)))
        for kind, count in (("queries", 9), ("passages", 12))
    ]
