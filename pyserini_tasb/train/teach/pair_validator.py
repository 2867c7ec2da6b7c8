"""A teacher's value on the validation set: every candidate scored with its query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.train.validator import TOKENS_PER_FORWARD, tokenised

if TYPE_CHECKING:
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.teach.config import TeachConfig
    from pyserini_tasb.train.teach.pair_student import PairStudent
    from pyserini_tasb.train.validation import ValidationSet


class PairValidator:
    """Scores each candidate once an evaluation; texts' tokens are kept, 4 bytes each.

    Args:
        validation_set: queries with their candidates.
        student: what is measured.
        config: token caps, the measure.
        processes: each scores its share of the candidates.
    """

    def __init__(
        self, validation_set: ValidationSet, student: PairStudent, config: TeachConfig, processes: Processes
    ) -> None:
        self._set, self._student, self._processes = validation_set, student, processes
        self.measure = config.validation.measure
        tokenizer, caps = student.tokenizer, config.teacher
        queries, passages = validation_set.queries, validation_set.passages
        query_tokens = tokenised(queries, range(len(queries)), tokenizer, "", caps.query_max_length)
        passage_tokens = tokenised(passages, range(len(passages)), tokenizer, "", caps.passage_max_length)
        query_of = np.repeat(np.arange(len(queries)), np.diff(validation_set.offsets))
        share = processes.share(len(query_of))
        self._pairs = [
            (query_tokens[query].tolist(), passage_tokens[passage].tolist())
            for query, passage in zip(query_of[share], validation_set.candidates[share], strict=True)
        ]
        self._candidates = len(query_of)

    def value(self) -> float:
        """The measure now; the same in every process."""
        student = self._student
        scores = torch.empty(len(self._pairs), device=student.device)
        budget = TOKENS_PER_FORWARD[torch.device(student.device).type]
        model = student.pairs.module.eval()
        try:
            with torch.inference_mode(), student.autocast():
                for batch in batches_by_length([student.length(pair) for pair in self._pairs], budget):
                    pairs = [self._pairs[position] for position in batch]
                    scores[torch.from_numpy(batch).to(student.device)] = student.outputs(pairs)
        finally:
            model.train()
        every = self._processes.gather(scores, self._candidates).cpu().numpy()
        first = self._processes.first
        return self._processes.from_first(self._set.measure(every, self.measure) if first else 0.0)
