"""A model's value on the validation set, and when to stop (paper, Section 4.3)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.models.tokenizers import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.data.validation_set import ValidationSet
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.training.config import TeachConfig, TrainConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.students import PairStudent, Student


@dataclass(frozen=True)
class EarlyStopping:
    """What early stopping knows; it goes into every checkpoint.

    Attributes:
        patience: evaluations without improvement after which training stops; the paper's is 30.
        best_value: the highest value so far; None before the first.
        best_step: the step it was measured at, which is the model to keep.
        without_improvement: evaluations since then.
    """

    patience: int
    best_value: float | None = None
    best_step: int | None = None
    without_improvement: int = 0

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.without_improvement >= self.patience

    def after(self, step: int, value: float) -> EarlyStopping:
        """The state after an evaluation; `best_step` is `step` if it improved.

        An equal value is no improvement, nor is one that is not a number: a model whose vectors are broken is not kept.
        """
        if math.isfinite(value) and (self.best_value is None or value > self.best_value):
            return replace(self, best_value=value, best_step=step, without_improvement=0)
        return replace(self, without_improvement=self.without_improvement + 1)

    def to_json(self) -> dict[str, Any]:
        """The same as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> EarlyStopping:
        """What `to_json` gave."""
        return cls(**state)


# --------
# The student's value on the validation set, at any step.

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


# --------
# A teacher's value on the validation set: every candidate scored with its query.


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
