"""What re-ranked scores depend on, in a few digests: so that nobody goes on with another command's work."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DIGESTS = ("run", "topics", "passages", "model")


def text_digests(
    written: Mapping[str, Sequence[str]],
    tops: Mapping[str, Sequence[str]],
    topics: Mapping[str, str],
    passages: Mapping[str, str],
) -> dict[str, Any]:
    """Digests of what is written and what is scored, and of nothing else in the files.

    Args:
        written: qid → docids, down to the last that is kept.
        tops: qid → docids, as they are scored.
        topics: qid → text.
        passages: docid → text.
    """
    docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
    return {
        "run": _digest(written.items()),
        "topics": _digest(topics[qid] for qid in tops),
        "passages": _digest(passages[docid] for docid in docids),
    }


def _digest(records: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record).encode() + b"\n")
    return digest.hexdigest()
