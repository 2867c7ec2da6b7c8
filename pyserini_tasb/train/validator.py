"""The student's value on the validation set, at any step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.encode.batching import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.texts import TextStore
    from pyserini_tasb.train.config import TrainConfig
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.student import Student
    from pyserini_tasb.train.validation import ValidationSet

TEXTS_TOKENISED_AT_ONCE = 10_000
TOKENS_PER_FORWARD = {"cpu": 4_096, "cuda": 65_536}


class Validator:
    """Encodes each text of a validation set once an evaluation; its tokens are kept, 4 bytes each.

    Args:
        validation_set: queries with their candidates.
        student: what is measured.
        config: token caps, prefixes, the measure.
        processes: each encodes its share.
    """

    def __init__(
        self, validation_set: ValidationSet, student: Student, config: TrainConfig, processes: Processes
    ) -> None:
        self._set, self._student, self._processes = validation_set, student, processes
        self.measure = config.validation.measure
        caps = config.student
        self._queries, self._passages = (
            tokenised(texts, self._share(texts), student.tokenizer, prefix, max_length)
            for texts, prefix, max_length in (
                (validation_set.queries, caps.query_prefix, caps.query_max_length),
                (validation_set.passages, caps.passage_prefix, caps.passage_max_length),
            )
        )

    def value(self) -> float:
        """The measure now; the same in every process."""
        model = self._student.model.eval()
        try:
            queries = self._vectors(self._queries, len(self._set.queries))
            passages = self._vectors(self._passages, len(self._set.passages))
        finally:
            model.train()
        first = self._processes.first
        value = self._set.measure(self._set.products(queries, passages), self.measure) if first else 0.0
        return self._processes.from_first(value)

    def _share(self, texts: TextStore) -> range:
        share = self._processes.share(len(texts))
        return range(share.start, share.stop)

    def _vectors(self, tokens: Sequence[NDArray[np.int32]], count: int) -> NDArray[np.float32]:
        device = self._student.device
        vectors = torch.empty(len(tokens), self._student.model.dimension, device=device)
        budget = TOKENS_PER_FORWARD[torch.device(device).type]
        with torch.inference_mode(), self._student.autocast():
            for batch in batches_by_length([len(ids) for ids in tokens], budget):
                vectors[torch.from_numpy(batch).to(device)] = self._student.outputs([tokens[n] for n in batch])
        gathered: NDArray[np.float32] = self._processes.gather(vectors, count).cpu().numpy()
        return gathered


def tokenised(
    texts: TextStore, numbers: range, tokenizer: Any, prefix: str, max_length: int
) -> list[NDArray[np.int32]]:
    """Token ids of the texts of these numbers, special tokens included."""
    tokens = []
    for start in range(numbers.start, numbers.stop, TEXTS_TOKENISED_AT_ONCE):
        batch = texts.texts(range(start, min(start + TEXTS_TOKENISED_AT_ONCE, numbers.stop)))
        ids = tokenizer([prefix + text for text in batch], truncation=True, max_length=max_length)["input_ids"]
        tokens += [np.asarray(text, dtype=np.int32) for text in ids]
    return tokens
