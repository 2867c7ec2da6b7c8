"""A batch's texts as a teacher's tokens: the student's, where both tokenise alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.config import StudentConfig
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.sampling import TrainingBatch
    from pyserini_tasb.train.store import PairStore
    from pyserini_tasb.train.student import Student

PROBE = "a B-c é"  # accents, case and punctuation: where tokenizers of one vocabulary differ


@dataclass(frozen=True)
class TeacherTokens:
    """Token ids for a teacher. Texts are cut at the student's caps, so that both see the same text.

    Args:
        tokenizer: the teacher's.
        query_prefix: the teacher's.
        passage_prefix: the teacher's.
        student: with its tokenizer.
        caps: the student's token caps and prefixes.
        store: the batches' texts.
        processes: each encodes its share of a batch.
    """

    tokenizer: Any
    query_prefix: str
    passage_prefix: str
    student: Student
    caps: StudentConfig
    store: PairStore
    processes: Processes

    @cached_property
    def are_the_students(self) -> bool:
        """Whether the student's tokens are taken as they are."""
        theirs = self.student.tokenizer
        return (
            (self.query_prefix, self.passage_prefix) == (self.caps.query_prefix, self.caps.passage_prefix)
            and type(self.tokenizer) is type(theirs)
            and self.tokenizer.get_vocab() == theirs.get_vocab()
            and self.tokenizer(PROBE).input_ids == theirs(PROBE).input_ids
        )

    def of_batch(self, batch: TrainingBatch) -> tuple[list[list[int]], list[list[int]]]:
        """This process's share of a batch: its queries; its positives, then its negatives."""
        if self.are_the_students:
            return batch.query_tokens, batch.passage_tokens
        share = self.processes.share(len(batch.queries))
        passages = np.concatenate([batch.positives[share], batch.negatives[share]])
        return self.of_texts(self.store.queries.texts(batch.queries[share]), self.store.passages.texts(passages))

    def of_texts(self, queries: Sequence[str], passages: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of queries and of passages."""
        return (
            self._ids([self.query_prefix + text for text in queries], self.caps.query_max_length),
            self._ids([self.passage_prefix + text for text in passages], self.caps.passage_max_length),
        )

    def _ids(self, texts: list[str], max_length: int) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        return ids
