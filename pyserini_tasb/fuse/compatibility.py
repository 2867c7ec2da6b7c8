"""Whether runs belong together: the same topics, and the same collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.columnar.packed_text import unpack
from pyserini_tasb.fuse.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluate.columnar import RunTable

QUERIES_COMPARED = 100


def require_compatible(tables: Mapping[str, RunTable]) -> list[str]:
    """Refuse runs that cannot belong together.

    Args:
        tables: by the names for errors; the first is what the others are compared with.

    Returns:
        What is merely odd, a sentence each: queries that not all have, runs that share no document.

    Raises:
        TasbError: a run has no query in common with the first; or no document, and ids of another kind.
    """
    (first, table), *others = tables.items()
    notes = []
    for name, other in others:
        shared = sorted(set(table.qids) & set(other.qids))
        if not shared:
            raise TasbError(
                where=name,
                expected=f"queries of {first}: {_examples(table.qids)}",
                found=f"none of them; it has {_examples(other.qids)}",
                do="fuse runs of the same topics",
            )
        for one, count in ((first, len(table.qids)), (name, len(other.qids))):
            if count > len(shared):
                both = f"{first} and {name}"
                notes.append(f"{count - len(shared)} of {count} queries of {one} are not in both {both}")
        if not _share_documents(table, other, shared[:QUERIES_COMPARED]):
            notes.append(_of_no_overlap(first, name, table, other))
    return notes


def _share_documents(table: RunTable, other: RunTable, qids: Sequence[str]) -> bool:
    parts = []
    for one in (table, other):
        numbers = {qid: number for number, qid in enumerate(one.qids)}
        parts.append(one.taken(np.array([numbers[qid] for qid in qids], dtype=np.int64)))
    return bool(Pool.of(parts).present.all(axis=1).any())


def _of_no_overlap(first: str, name: str, table: RunTable, other: RunTable) -> str:
    kinds = [_kind(one) for one in (table, other)]
    examples = [_examples([docid.decode() for docid in unpack(one.docids[:3]).tolist()]) for one in (table, other)]
    if kinds[0] != kinds[1]:
        raise TasbError(
            where=name,
            expected=f"docids of the same collection as {first}, which has {kinds[0]}: {examples[0]}",
            found=f"{kinds[1]}: {examples[1]}; not one document in common",
            do="search the same collection for both, or bring the docids into one form",
        )
    return f"{first} and {name} have not one document in common: {examples[0]} against {examples[1]}; one collection?"


def _kind(table: RunTable) -> str:
    docids = unpack(table.docids[:1000]).tolist()
    return "integers" if all(docid.isdigit() for docid in docids) else "names"


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
