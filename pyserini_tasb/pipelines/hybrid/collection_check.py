"""Whether retrievers search the same collection."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyserini_tasb.evaluate import Run
    from pyserini_tasb.pipelines.hybrid.retriever import Retriever

DOCIDS_LOOKED_UP = 1_000


def require_one_collection(retrievers: Sequence[Retriever], runs: Sequence[Run]) -> bool:
    """Refuse retrievers of different collections.

    Two rankings may well have no document in common. Only where neither index has a document that the other found
    are they of different collections.

    Args:
        retrievers: what was searched.
        runs: what each found for some queries.

    Returns:
        Whether all of them found something, so that nothing is left to be seen from further queries.

    Raises:
        TasbError: two have no document in common.
    """
    found = [list(dict.fromkeys(docid for ranking in run.values() for docid in ranking)) for run in runs]
    for (one, docids), (other, others) in itertools.combinations(zip(retrievers, found, strict=True), 2):
        if not docids or not others or not set(docids).isdisjoint(others):
            continue
        if not other.has_any(docids[:DOCIDS_LOOKED_UP]) and not one.has_any(others[:DOCIDS_LOOKED_UP]):
            raise TasbError(
                where=other.name,
                expected=f"documents of the collection that {one.name} has, such as {_examples(docids)}",
                found=f"others, such as {_examples(others)}; not one in common",
                do="index the same collection for both, with the same docids",
            )
    return all(found)


def _examples(docids: Iterable[str]) -> str:
    return ", ".join(itertools.islice(docids, 2))
