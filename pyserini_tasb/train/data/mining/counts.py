"""What happened to topics, positives, hits and pairs while negatives were mined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyserini_tasb.train.store.agreement import Agreement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLES = 5
REMOVALS = {
    "hits_without_text": "are not in the collection, or empty there",
    "known_positives": "are positives",
    "same_text": "have the text of a positive",
    "query_itself": "are the query itself (--keep-query keeps them)",
    "skipped_top": "are among the first ranks (--skip-top)",
    "too_close": "are too close to every positive (--margin-cutoff)",
}
TOPIC_FAULTS = {
    "without_qrels": "have no qrels",
    "without_positive": "have no positive (--min-relevance)",
    "without_positive_text": "have no positive with a text in the collection",
    "without_negatives": "have no hit that can be a negative",
    "without_hits": "of these have no hits at all",
}


@dataclass
class MiningCounts:
    """Numbers of topics, positives, hits and pairs; the first few topics of each kind of fault by name."""

    topics: int = 0
    without_topic: int = 0
    without_qrels: int = 0
    without_positive: int = 0
    without_positive_text: int = 0
    positives: int = 0
    positives_without_text: int = 0
    hits: int = 0
    hits_without_text: int = 0
    known_positives: int = 0
    same_text: int = 0
    query_itself: int = 0
    skipped_top: int = 0
    too_close: int = 0
    without_negatives: int = 0
    without_hits: int = 0
    negatives: int = 0
    pairs_too_close: int = 0
    positives_without_pair: int = 0
    queries: int = 0
    pairs: int = 0
    agreement: Agreement = field(default_factory=Agreement)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, qid: str) -> None:
        """Count a query under `kind`, and keep the first few of the kind by name."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(examples := self.examples.setdefault(kind, [])) < EXAMPLES:
            examples.append(qid)

    def named(self, kind: str) -> str:
        """The first few topics of a kind, for people."""
        return ", ".join(self.examples[kind]) + (", …" if getattr(self, kind) > EXAMPLES else "")

    def keep(self, kind: str, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count under `kind` what is removed; True where something stays."""
        setattr(self, kind, getattr(self, kind) + int(removed.sum()))
        return ~removed
