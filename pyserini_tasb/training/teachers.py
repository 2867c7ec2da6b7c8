"""Teachers that score every query of a batch with every passage of it: ColBERT (paper, Section 2.3) or a bi-encoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import find_checkpoint, kind_of
from pyserini_tasb.models.colbert import max_sim, max_sim_of_pairs
from pyserini_tasb.registry import Registry
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.reranking.transformer_scorers import ColBertScorer, rectangle
from pyserini_tasb.training.checkpoints import TEACHER_VECTORS
from pyserini_tasb.training.losses import InBatchScores
from pyserini_tasb.training.teacher_vectors import VectorTeacher, given_vectors, vectors_made_once
from pyserini_tasb.training.token_vectors import kept_token_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.recipes.types import EncoderCard
    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.config import StudentConfig, TrainConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.students import DualEncoder
    from pyserini_tasb.training.token_vectors import TokenVectors


class InBatchTeacher(Protocol):
    """A frozen model that scores a batch's queries with all its passages."""

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """Scores of the whole batch, on the student's device. Where `batch.negatives` is [b, n], they are [b, b·n]."""

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """[n] each query's score with its positive less that with its negative."""


@dataclass(frozen=True)
class TeacherRequest:
    """The model, the student and the data for an in-batch teacher.

    Attributes:
        model: `teacher.in_batch` of the configuration.
        allow_bin: accept weights in `pytorch_model.bin`.
        student: the model that learns.
        caps: the most tokens of a text that the student reads.
        store: the pairs.
        processes: this process, among all that train together.
        cache: the folder for vectors.
        cache_gb: the disk space in GB that all processes together may use for vectors; None keeps none.
    """

    model: str
    allow_bin: bool
    student: DualEncoder
    caps: StudentConfig
    store: PairStore
    processes: Processes
    cache: Path
    cache_gb: float | None = None

    @cached_property
    def card(self) -> EncoderCard:
        """The encoder card that `model` names, with the precision that the student computes in."""
        from pyserini_tasb.recipes.lookup import encoder_card  # brings pydantic

        card = encoder_card(self.model)
        precision = "fp32" if self.student.compute is torch.float32 else "bf16"
        return card.model_copy(update={"precision": precision, "allow_bin": card.allow_bin or self.allow_bin})

    @cached_property
    def folder(self) -> Path:
        """The folder of the card's model."""
        return find_checkpoint(self.card.model, allow_bin=self.card.allow_bin)

    @property
    def device(self) -> str:
        """A second GPU where one stands idle, else the student's device."""
        student = self.student.device
        idle = self.processes.world == 1 and student.startswith("cuda") and torch.cuda.device_count() > 1
        return "cuda:1" if idle and student != "cuda:1" else student  # not run here: no GPU

    def tokens(self, tokenizer: Any, query_prefix: str = "", passage_prefix: str = "") -> TeacherTokens:
        """The tokens that a teacher with its own tokenizer reads."""
        return TeacherTokens(
            tokenizer,
            query_prefix,
            passage_prefix,
            student=self.student,
            caps=self.caps,
            store=self.store,
            processes=self.processes,
        )


TEACHERS: Registry[Callable[[TeacherRequest], InBatchTeacher]] = Registry(
    "in-batch teacher", "in-batch-teachers", takes=("a TeacherRequest",)
)
KIND_OF_A_MODEL = {"bert-dot": "bi-encoder", "colbert": "colbert"}


def load_in_batch_teacher(
    config: TrainConfig, student: DualEncoder, store: PairStore, processes: Processes
) -> InBatchTeacher | VectorTeacher:
    """The teacher that `teacher.in_batch` names, of the kind `teacher.kind`, or of the kind that its model is of.

    A bi-encoder's vectors are computed once, or are there already, or are computed batch by batch: see
    `teacher_vectors`.

    Raises:
        TasbError: no such model, one that cannot score a whole batch (a cross-encoder), vectors of something else, or
            vectors that cannot be made.
        KeyboardInterrupt: while they are made, after Ctrl-C, SIGTERM or SIGHUP.
    """
    teacher = config.teacher
    request = TeacherRequest(
        str(teacher.in_batch),
        teacher.allow_bin,
        student,
        config.student,
        store,
        processes,
        config.output / TEACHER_VECTORS,
        teacher.token_cache_gb,
    )
    if teacher.in_batch is None:  # the configuration has seen to it that both folders are named
        return given_vectors(config, student.device, store)
    kind = teacher.kind or _kind(request)
    if kind != "colbert" and teacher.token_cache_gb is not None:
        raise TasbError(
            expected="a ColBERT as `teacher.in_batch` with `teacher.token_cache_gb`",
            found=f"a teacher of the kind {kind}",
            do="leave out this key (a bi-encoder's vectors are computed once: `teacher.precompute`)",
        )
    if kind == "bi-encoder":
        with_vectors = vectors_made_once(config, request)
        if with_vectors is not None:
            return with_vectors
    elif teacher.vectors is not None or teacher.precompute == "always":
        raise TasbError(
            expected="a bi-encoder as `teacher.in_batch` with `teacher.vectors` or `teacher.precompute: always`",
            found=f"a teacher of the kind {kind}",
            do="leave out these keys",
        )
    return TEACHERS[kind](request)


def _kind(request: TeacherRequest) -> str:
    """The kind that a model is of."""
    kind = kind_of(request.folder, pooling=request.card.pooling)
    if kind not in KIND_OF_A_MODEL:
        raise TasbError(
            where=str(request.folder),
            expected="a bi-encoder or a ColBERT as `teacher.in_batch`: they score every query with every passage",
            found=f"a cross-encoder ({kind}), which would have to read every query with every passage",
            do="let it score the pairs beforehand (`tasb score`); take a ColBERT in batch "
            "(`tasb teach --kind colbert`)",
        )
    return KIND_OF_A_MODEL[kind]


@TEACHERS.register("bi-encoder")
def bi_encoder(request: TeacherRequest) -> InBatchTeacher:
    """Dot products of an encoder card's vectors."""
    encoder = TextEncoder(request.card, request.device, texts="queries and passages")
    tokens = request.tokens(encoder.tokenizer, request.card.query_prefix, request.card.passage_prefix)
    return BiEncoderTeacher(encoder, tokens)


@TEACHERS.register("colbert")
def colbert(request: TeacherRequest) -> InBatchTeacher:
    """MaxSim of a ColBERT (paper, Section 2.3)."""
    scorer = ColBertScorer(request.folder, ScoringOptions(request.device, request.card.precision))
    return ColBertTeacher(scorer, request.tokens(scorer.tokenizer), kept_token_vectors(request, scorer.model.dimension))


class BiEncoderTeacher:
    """Dot products of an encoder card's vectors.

    Args:
        encoder: the model, at the precision it computes in.
        tokens: what it reads.
    """

    def __init__(self, encoder: TextEncoder, tokens: TeacherTokens) -> None:
        self._encoder, self.tokens = encoder, tokens

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """See `InBatchTeacher`."""
        queries, passages = self.tokens.batch_ids(batch)
        sizes = [len(queries), len(queries), len(passages) - len(queries)]
        own = torch.split(self._vectors([*queries, *passages]), sizes)
        size, gather, of_each = len(batch.queries), self.tokens.processes.gather, (1, 1, batch.negatives_per_query)
        asked, positives, negatives = (
            gather(vectors, size, each=each) for vectors, each in zip(own, of_each, strict=True)
        )
        return InBatchScores.of_vectors(asked, positives, negatives)

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """See `InBatchTeacher`."""
        asked, passages = self.tokens.text_ids(queries, [*positives, *negatives])
        vectors = self._vectors([*asked, *passages]).chunk(3)
        return ((vectors[1] - vectors[2]) * vectors[0]).sum(dim=1)

    def _vectors(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.from_numpy(self._encoder.encode_tokens(token_ids)).to(self.tokens.student.device)


class ColBertTeacher:
    """Scores of every query with every passage by `max_sim`, in chunks: a batch of 4,096 has 2e11 similarities.

    Args:
        colbert: the model, at the precision it computes in.
        tokens: what it reads.
        cache: keeps vectors of queries and passages, numbered one after the other; None if all are computed each time.
    """

    def __init__(self, colbert: ColBertScorer, tokens: TeacherTokens, cache: TokenVectors | None = None) -> None:
        self._colbert, self.tokens, self._cache = colbert, tokens, cache
        self._longest_query = tokens.caps.query_max_length + colbert.model.query_masks
        self._longest_passage = tokens.caps.passage_max_length

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """See `InBatchTeacher`."""
        of_queries, vectors = self._token_vectors(batch)
        asked = self._whole(of_queries, batch, self._longest_query)
        positives = self._whole(vectors[: len(of_queries)], batch, self._longest_passage)
        negatives = self._whole(
            vectors[len(of_queries) :], batch, self._longest_passage, each=batch.negatives_per_query
        )
        return InBatchScores(
            max_sim(*asked, *positives).to(self.tokens.student.device),
            max_sim(*asked, *negatives).to(self.tokens.student.device),
        )

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """See `InBatchTeacher`."""
        asked, passages = self.tokens.text_ids(queries, [*positives, *negatives])
        of_queries = rectangle(self._colbert.query_vectors(asked))
        vectors = self._colbert.vectors(passages)
        scores = [
            max_sim_of_pairs(*of_queries, *rectangle(part))
            for part in (vectors[: len(queries)], vectors[len(queries) :])
        ]
        return (scores[0] - scores[1]).to(self.tokens.student.device)

    def _token_vectors(self, batch: TrainingBatch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Vectors of this process's share: its queries; its positives, then its negatives."""
        if self._cache is None:
            queries, passages = self.tokens.batch_ids(batch)
            return self._colbert.query_vectors(queries), self._colbert.vectors(passages)
        asked, found = self.tokens.own(batch)
        return (
            self._cache.of(asked, lambda some: self._colbert.query_vectors(self.tokens.query_ids(batch, some))),
            self._cache.of(
                found + len(self.tokens.store.queries),
                lambda some: self._colbert.vectors(self.tokens.passage_ids(batch, some)),
            ),
        )

    def _whole(
        self, own: Sequence[torch.Tensor], batch: TrainingBatch, longest: int, *, each: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors and mask of the whole batch, from those of this process's share: `each` texts of each query."""
        vectors, mask = rectangle(own)
        processes = self.tokens.processes
        if processes.world > 1:  # all processes' parts have to be of one width
            room = longest - vectors.shape[1]
            vectors = torch.nn.functional.pad(vectors, (0, 0, 0, room))
            mask = torch.nn.functional.pad(mask, (0, room))
        size = len(batch.queries)
        return processes.gather(vectors, size, each=each), processes.gather(mask.float(), size, each=each)


PROBE = "a B-c é"  # accents, case and punctuation: where tokenizers of one vocabulary differ


@dataclass(frozen=True)
class TeacherTokens:
    """Token ids for a teacher. Texts are cut at the student's caps, so that both see the same text.

    Args:
        tokenizer: the teacher's.
        query_prefix: the teacher's.
        passage_prefix: the teacher's.
        student: the model, with its tokenizer.
        caps: the student's token caps and prefixes.
        store: the batches' texts.
        processes: each encodes its share of a batch.
    """

    tokenizer: Any
    query_prefix: str
    passage_prefix: str
    student: DualEncoder
    caps: StudentConfig
    store: PairStore
    processes: Processes

    @cached_property
    def are_the_students(self) -> bool:
        """True if the student's tokens are taken as they are."""
        theirs = self.student.tokenizer
        return (
            (self.query_prefix, self.passage_prefix) == (self.caps.query_prefix, self.caps.passage_prefix)
            and type(self.tokenizer) is type(theirs)
            and self.tokenizer.get_vocab() == theirs.get_vocab()
            and self.tokenizer(PROBE).input_ids == theirs(PROBE).input_ids
        )

    def own(self, batch: TrainingBatch) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Numbers of this process's share of a batch: its queries; its positives, then its negatives."""
        share = self.processes.share(len(batch.queries))
        return batch.queries[share], np.concatenate([batch.positives[share], batch.negatives[share].ravel()])

    def batch_ids(self, batch: TrainingBatch) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of this process's share of a batch, in the order of `own`."""
        queries, passages = self.own(batch)
        every = np.arange(len(queries)), np.arange(len(passages))
        return self.query_ids(batch, every[0]), self.passage_ids(batch, every[1])

    def query_ids(self, batch: TrainingBatch, positions: NDArray[np.intp]) -> list[list[int]]:
        """Token ids of the queries at some positions of `own`."""
        if self.are_the_students:
            return [batch.query_tokens[position] for position in positions.tolist()]
        return self.text_ids(self.store.queries.texts(self.own(batch)[0][positions]), [])[0]

    def passage_ids(self, batch: TrainingBatch, positions: NDArray[np.intp]) -> list[list[int]]:
        """Token ids of the passages at some positions of `own`."""
        if self.are_the_students:
            return [batch.passage_tokens[position] for position in positions.tolist()]
        return self.text_ids([], self.store.passages.texts(self.own(batch)[1][positions]))[1]

    def text_ids(self, queries: Sequence[str], passages: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of queries and of passages."""
        return (
            self._ids([self.query_prefix + text for text in queries], self.caps.query_max_length),
            self._ids([self.passage_prefix + text for text in passages], self.caps.passage_max_length),
        )

    def _ids(self, texts: list[str], max_length: int) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        return ids
