"""What is searched for one input of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyserini_tasb.evaluate import Run, Topics


class Retriever(Protocol):
    """An open index, with what its queries need.

    Attributes:
        name: for messages: the kind of input, and the index.
    """

    @property
    def name(self) -> str: ...

    def search(self, topics: Topics, hits: int, threads: int) -> Run:
        """The content of a run file of these topics, best first, with scores as they are read back from it.

        Args:
            topics: the queries; those that find nothing have no hits.
            hits: documents of each query.
            threads: to search with.
        """
        ...

    @property
    def warning(self) -> str:
        """A warning about short lists in all that was found so far, with what to do; empty if none is."""
        ...

    def has_any(self, docids: Iterable[str]) -> bool:
        """Whether at least one of the documents is in the index."""
        ...
