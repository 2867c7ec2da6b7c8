"""A bi-encoder teacher's vectors, computed once for all texts of a pair store: its scores are their dot products.

The paper says of a teacher in the batch, whose cost is added to every step: "this can be mitigated by computing the
teacher output once and re-using it" (arXiv:2104.06967).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from pyserini_tasb.encoding.corpus import Share, encode_corpus
from pyserini_tasb.encoding.job import EncodeJob
from pyserini_tasb.encoding.vectors import StoredVectors, VectorFolder
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.training.checkpoints import CHECKPOINTS, TEACHER_VECTORS, CheckpointFolder
from pyserini_tasb.training.losses import InBatchScores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.encoding.job import Kind
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.config import TrainConfig
    from pyserini_tasb.training.teachers import TeacherRequest


LOG = logging.getLogger(__name__)
Side = Literal["queries", "passages"]
SIDES: tuple[Side, Side] = ("queries", "passages")
TEXTS_OF_A_UNIT = 4_096  # what a kill loses: one or two minutes on a CPU


class VectorTeacher:
    """Scores of vectors in folders. Every process reads those of the whole batch: nothing is computed or gathered.

    Args:
        queries: a vector for each query of the pair store.
        passages: a vector for each of its passages.
        device: where the scores are wanted.
    """

    def __init__(self, queries: StoredVectors, passages: StoredVectors, device: str) -> None:
        self._queries, self._passages, self._device = queries, passages, device

    @property
    def fingerprint(self) -> list[str]:
        """Changes when a folder's vectors do."""
        return [self._queries.folder.digest, self._passages.folder.digest]

    @property
    def description(self) -> dict[str, object]:
        """Their encoder, and how they were made, as label → value."""
        sides = {"queries": self._queries.folder, "passages": self._passages.folder}
        made = {
            f"{side}: {key}": str(folder.dtype if key == "dtype" else folder.about.get(key))
            for side, folder in sides.items()
            for key in ("max_length", "precision", "dtype")
        }
        return {"encoder": self._queries.folder.about.get("encoder"), **made}

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """Scores of the whole batch."""
        return InBatchScores.of_vectors(*self._vectors(batch.queries, batch.positives, batch.negatives.ravel()))

    def margins_of_pairs(
        self, queries: NDArray[np.integer], positives: NDArray[np.integer], negatives: NDArray[np.integer]
    ) -> torch.Tensor:
        """[n] each query's score with its positive less that with its negative; texts by their numbers in the store."""
        asked, better, worse = self._vectors(queries, positives, negatives)
        return ((better - worse) * asked).sum(dim=1)

    def _vectors(self, queries: NDArray[np.integer], *passages: NDArray[np.integer]) -> list[torch.Tensor]:
        read = [self._queries.at(queries), *map(self._passages.at, passages)]
        return [torch.from_numpy(vectors).to(self._device) for vectors in read]


def given_vectors(config: TrainConfig, device: str, store: PairStore) -> VectorTeacher:
    """The teacher that is known by its vectors only, of which `teacher.vectors` names both folders.

    Raises:
        TasbError: not vector folders, vectors of two encoders, or texts without a vector.
    """
    folders = _named_folders(config)
    queries = folders["queries"]
    made_by = {"digest": str(queries.about.get("card")), "encoder": f"that made {queries.path}"}
    stored = {side: _fitting(config, store, side, folder, **made_by) for side, folder in folders.items()}
    return VectorTeacher(stored["queries"], stored["passages"], device)


def vectors_made_once(config: TrainConfig, request: TeacherRequest) -> VectorTeacher | None:
    """A bi-encoder with vectors of all texts, of which those that no folder has are encoded now, in the run's folder.

    Args:
        config: the run's.
        request: the bi-encoder, the student and the pairs.

    Returns:
        the teacher; None where it is to compute every batch: `teacher.precompute` says so, or it is less work.

    Raises:
        TasbError: vectors of something else, or that cannot be made.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP; the same call goes on with the next unit of texts.
    """
    began = CheckpointFolder(config.output / CHECKPOINTS, config.checkpoint.keep).newest_state()
    if not _wanted(config, request, began):
        return None
    digest, store = model_digest(request.model, allow_bin=request.allow_bin), request.store
    made_by = {"digest": digest, "encoder": f"`{request.model}`"}
    named = _named_folders(config)  # they come first, as they may not fit, and encoding takes long
    stored = {side: _fitting(config, store, side, folder, **made_by) for side, folder in named.items()}
    for side in SIDES:
        if side not in stored:
            folder = VectorFolder(_encoded(config, request, side, digest, keep=began is not None))
            stored[side] = _fitting(config, store, side, folder, **made_by)
    return VectorTeacher(stored["queries"], stored["passages"], request.student.device)


def _named_folders(config: TrainConfig) -> dict[Side, VectorFolder]:
    named = config.teacher.vectors
    return {side: VectorFolder(path) for side in SIDES if (path := getattr(named, side, None)) is not None}


def _fitting(
    config: TrainConfig, store: PairStore, side: Side, folder: VectorFolder, *, digest: str, encoder: str
) -> StoredVectors:
    """The vectors of one side's texts, made by the encoder of this digest; a note says where it read more or less."""
    folder.require_encoder(digest, encoder, f"`teacher.vectors.{side}`")
    theirs = folder.about.get("max_length")
    ours = config.student.query_max_length if side == "queries" else config.student.passage_max_length
    if theirs != ours:
        LOG.info(
            "%s: the in-batch teacher read at most %s tokens of its %s; the student reads %d",
            *(folder.path, theirs, side, ours),
        )
    return StoredVectors(folder, _texts(store, side), _kind(side), f"`teacher.vectors.{side}`")


def _texts(store: PairStore, side: Side) -> TextStore:
    return store.queries if side == "queries" else store.passages


def _kind(side: Side) -> Kind:
    return "query" if side == "queries" else "passage"


def _wanted(config: TrainConfig, request: TeacherRequest, began: Mapping[str, Any] | None) -> bool:
    """True if the run works with vectors: as it began, where it goes on; as it is told; else where it is less work."""
    teacher = config.teacher
    if began is not None:
        return began.get("teacher_vectors") is not None
    if teacher.vectors is not None or teacher.precompute == "always":
        return True
    if teacher.precompute == "never":
        return False
    work = Work.of(config, request)
    if request.processes.first:
        LOG.info("in-batch teacher %s: %s", request.model, work)
    return request.processes.from_first(lambda: work.pays)  # the space that is left may differ a moment later


@dataclass(frozen=True)
class Work:
    """The texts that a bi-encoder has to encode, all of them once or batch by batch.

    Args:
        once: texts of the pair store.
        in_batches: texts of the batches of all steps: each query, its positive and its negatives.
        steps: these steps; without `max_steps`, those after which early stopping may end the run at the earliest.
        bytes: the vectors of all texts.
        free: bytes free on the disk of the run's folder, with those that vectors made so far take.
    """

    once: int
    in_batches: int
    steps: int
    bytes: int
    free: int

    @classmethod
    def of(cls, config: TrainConfig, request: TeacherRequest) -> Work:
        """The work of a run."""
        from transformers import AutoConfig

        once = len(request.store.queries) + len(request.store.passages)
        steps = config.max_steps or config.validation.every * config.validation.patience
        dimension = getattr(AutoConfig.from_pretrained(request.folder), "hidden_size", 0)
        made = config.output / TEACHER_VECTORS
        existing = next(path for path in (config.output.absolute(), *config.output.absolute().parents) if path.exists())
        return cls(
            once,
            steps * config.accumulate * config.batch_size * (2 + config.sampling.negatives),
            steps,
            once * dimension * np.dtype(np.float32).itemsize,
            shutil.disk_usage(existing).free + sum(path.stat().st_size for path in made.rglob("*") if path.is_file()),
        )

    @property
    def pays(self) -> bool:
        """True if all texts are no more than the batches', and their vectors take at most half of the free disk."""
        return self.once <= self.in_batches and self.bytes <= self.free / 2

    def __str__(self) -> str:
        of_batches = f"the batches of {self.steps:,} steps have {self.in_batches:,}"
        if self.pays:
            return f"the {self.once:,} texts of the pairs are encoded once; {of_batches}"
        if self.once > self.in_batches:
            return f"texts are encoded batch by batch: {of_batches}, the pairs {self.once:,}"
        gigabytes = f"{self.bytes / 1e9:,.1f} GB, and the disk has {self.free / 1e9:,.1f} GB"
        return f"texts are encoded batch by batch: the vectors of all {self.once:,} would take {gigabytes}"


def _encoded(config: TrainConfig, request: TeacherRequest, side: Side, card: str, *, keep: bool) -> Path:
    """The folder of one side's vectors, encoded as a batch would be: cut where the student cuts, as precisely.

    Args:
        config: the run's.
        request: the bi-encoder and the pairs.
        side: which texts.
        card: the encoder's digest.
        keep: vectors of other texts or encoders, of a run that never trained, stay.
    """
    caps, texts = config.student, _texts(request.store, side)
    decides = [card, caps.query_max_length, caps.passage_max_length, request.card.precision, texts.fingerprint]
    parent = config.output / TEACHER_VECTORS
    folder = parent / f"{side}-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]}"
    if request.processes.first and not keep:
        for other in parent.glob(f"{side}-*"):
            if other != folder:
                shutil.rmtree(other)
    request.processes.wait_for_all()
    lengths = {"query_max_length": caps.query_max_length, "passage_max_length": caps.passage_max_length}
    job = EncodeJob(
        encoder=request.model,
        card=request.card.model_copy(update=lengths),
        card_digest=card,
        kind=_kind(side),
        corpus=(str(texts.folder.absolute()),),
        fields=Fields(),
        output=folder,
        max_length=None,
        precision=request.card.precision,
        dtype="float32",
        device=request.device,
        backend=None,
    )
    encode_corpus(job, TEXTS_OF_A_UNIT, share=Share(request.processes.rank, request.processes.world))
    request.processes.wait_for_all()
    return folder
