"""A model's value on the validation set, and when to stop (paper, Section 4.3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.models.tokenizers import batches_by_length
from pyserini_tasb.training.distributed import Processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.data.validation_set import ValidationSet
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.training.batches import Tokenising
    from pyserini_tasb.training.students import Student


@dataclass(frozen=True)
class EarlyStopping:
    """The state of early stopping, which goes into every checkpoint.

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
        """True if patience has run out."""
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
        """The state that `to_json` gave."""
        return cls(**state)


TEXTS_TOKENISED_AT_ONCE = 10_000
TOKENS_PER_FORWARD = {"cpu": 4_096, "cuda": 65_536}


class Validator(ABC):
    """A model's value on a validation set, at any step. Texts' tokens are kept, 4 bytes each.

    Args:
        validation_set: queries with their candidates.
        student: what is measured.
        tokenising: how texts become tokens.
        measure: the measure's name in ir-measures.
        processes: each computes its share.
    """

    def __init__(
        self,
        validation_set: ValidationSet,
        student: Student[Any],
        tokenising: Tokenising,
        measure: str,
        processes: Processes,
    ) -> None:
        self.measure = measure
        self._set, self._student, self._processes = validation_set, student, processes
        self._prepare(tokenising)

    @abstractmethod
    def _prepare(self, tokenising: Tokenising) -> None:
        """Make the items of this process's share."""

    @abstractmethod
    def _scores(self) -> NDArray[np.float32]:
        """Every candidate's score with its query."""

    def value(self) -> float:
        """The measure now; the same in every process."""
        model = self._student.model.eval()
        try:
            scores = self._scores()
        finally:
            model.train()
        return self._processes.from_first(lambda: self._set.measure(scores, self.measure))

    def _tokens(
        self, tokenising: Tokenising, processes: Processes
    ) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
        """Token ids of a process's share of the queries, and of the passages; special tokens included."""

        def tokens(texts: TextStore, prefix: str, max_length: int) -> list[NDArray[np.int32]]:
            share, found = processes.share(len(texts)), []
            for start in range(share.start, share.stop, TEXTS_TOKENISED_AT_ONCE):
                batch = texts.texts(range(start, min(start + TEXTS_TOKENISED_AT_ONCE, share.stop)))
                tokenizer = self._student.tokenizer
                ids = tokenizer([prefix + text for text in batch], truncation=True, max_length=max_length)["input_ids"]
                found += [np.asarray(text, dtype=np.int32) for text in ids]
            return found

        return (
            tokens(self._set.queries, tokenising.query_prefix, tokenising.query_max_length),
            tokens(self._set.passages, tokenising.passage_prefix, tokenising.passage_max_length),
        )

    def _outputs(self, items: Sequence[Any], count: int) -> NDArray[np.float32]:
        """Outputs of the model for the `count` items of all processes, of which `items` are this one's share."""
        student = self._student
        outputs = torch.empty(len(items), *student.output_shape, device=student.device)
        budget = TOKENS_PER_FORWARD[torch.device(student.device).type]
        with torch.inference_mode(), student.autocast():
            for batch in batches_by_length([student.length(item) for item in items], budget):
                outputs[torch.from_numpy(batch).to(student.device)] = student.outputs([items[n] for n in batch])
        gathered: NDArray[np.float32] = self._processes.gather(outputs, count).cpu().numpy()
        return gathered


class DualEncoderValidator(Validator):
    """Encodes each text once an evaluation."""

    def _prepare(self, tokenising: Tokenising) -> None:
        self._queries, self._passages = self._tokens(tokenising, self._processes)

    def _scores(self) -> NDArray[np.float32]:
        queries = self._outputs(self._queries, len(self._set.queries))
        passages = self._outputs(self._passages, len(self._set.passages))
        return self._set.products(queries, passages) if self._processes.first else np.empty(0, np.float32)


class PairValidator(Validator):
    """Scores each candidate with its query once an evaluation."""

    def _prepare(self, tokenising: Tokenising) -> None:
        queries, passages = self._tokens(tokenising, Processes())  # any candidate may be in this process's share
        query_of = np.repeat(np.arange(len(queries)), np.diff(self._set.offsets))
        share = self._processes.share(len(query_of))
        self._pairs = [
            (queries[query].tolist(), passages[passage].tolist())
            for query, passage in zip(query_of[share], self._set.candidates[share], strict=True)
        ]
        self._candidates = len(query_of)

    def _scores(self) -> NDArray[np.float32]:
        return self._outputs(self._pairs, self._candidates)
