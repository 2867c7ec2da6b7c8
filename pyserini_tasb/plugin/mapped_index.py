"""Let `FaissSearcher` map its index file instead of reading it, where the environment asks for it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from pyserini_tasb.errors import TasbError

SWITCH = "PYSERINI_TASB_MMAP"
_MEANS = {"": False, "0": False, "1": True}


def map_when_asked(searcher: Any) -> None:
    """Replace `load_index` of Pyserini's `FaissSearcher`, in place.

    With `PYSERINI_TASB_MMAP=1` an index of any size opens at once: vectors and docids stay in their files, and come
    into memory, which the system can take back, as a search looks at them. Without it nothing is different.
    """
    stock = searcher.load_index

    @functools.wraps(stock)
    def load_index(self: Any, index_dir: str) -> tuple[Any, Any]:
        # A copy for a GPU is read whole in any case.
        if not _asked() or self.faiss_device != "cpu":
            loaded: tuple[Any, Any] = stock(self, index_dir)
            return loaded
        from pyserini_tasb.index.faiss_folder import open_folder

        folder = open_folder(Path(index_dir))
        return folder.index, folder.docids

    searcher.load_index = load_index


def _asked() -> bool:
    value = os.environ.get(SWITCH, "")
    if value not in _MEANS:
        raise TasbError(
            where=SWITCH,
            expected="1 to map index files, 0 or nothing to read them",
            found=value,
            do=f"export {SWITCH}=1",
        )
    return _MEANS[value]
