"""Dense retrieval from a Faiss folder, as `tasb search` does it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pyserini_tasb.index.search import search_folder
from pyserini_tasb.index.sharded_index import ShardedIndex
from pyserini_tasb.index.weakness import faiss_advice, short_lists_warning
from pyserini_tasb.index_manifest import require_encoder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encode import TasbQueryEncoder
    from pyserini_tasb.evaluate import Run, Topics


class FaissRetriever:
    """A Faiss folder, its file mapped, and a query encoder.

    The search is that of `tasb search`, not `FaissSearcher.batch_search`: there the last bits of a score depend on
    which queries are searched together, and which of equal scores is kept last is left open.

    Args:
        name: for messages.
        folder: with the files `index` and `docid`.
        encoder: of the queries.
        topics: all that will be searched for. They are encoded together, with the first search: a vector's last bits
            depend on what else is in the model's batch.

    Raises:
        TasbError: not such a folder, a damaged one, vectors of another dimension than the encoder's, or an encoder
            that does not belong to the index.
    """

    def __init__(self, name: str, folder: Path, encoder: TasbQueryEncoder, topics: Topics) -> None:
        self.name = name
        self._encoder, self._topics = encoder, topics
        self._rows = {qid: row for row, qid in enumerate(topics)}
        require_encoder(folder, encoder)
        self._lengths: list[int] = []
        self._asked = 0
        self._folder = ShardedIndex([folder]).open(0, encoder.dimension)

    @functools.cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return self._encoder.encode_batch(list(self._topics.values()))

    def search(self, topics: Topics, hits: int, threads: int) -> Run:
        """As `Retriever`; Faiss has been told its threads for the whole process."""
        docids = self._folder.docids
        found = search_folder(self._folder, self._vectors[[self._rows[qid] for qid in topics]], hits)
        self._asked = hits
        self._lengths += map(len, found)
        return {
            qid: dict(zip((docids[row] for row in of.rows.tolist()), of.scores.tolist(), strict=True))
            for qid, of in zip(topics, found, strict=True)
        }

    @property
    def warning(self) -> str:
        """See `Retriever`."""
        advice = faiss_advice(self._folder.index)
        return short_lists_warning(self._lengths, self._asked, self._folder.docids, advice)

    def has_any(self, docids: Iterable[str]) -> bool:
        """As `Retriever`; reads docids until one is among them."""
        wanted = set(docids)
        return any(docid in wanted for docid in self._folder.docids)
