"""All that takes part in a run: what its configuration names, opened and loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch

from pyserini_tasb.artifacts import sha256
from pyserini_tasb.data.cluster_file import clusters_in_store
from pyserini_tasb.data.pair_store import Agreement, open_pair_store
from pyserini_tasb.data.validation_set import ValidationSet, overlap_warning
from pyserini_tasb.environment.processor import require_device
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import folder_digest, model_digest
from pyserini_tasb.training.batches import Tokenising
from pyserini_tasb.training.losses import PAIRWISE
from pyserini_tasb.training.margins import MarginScale, fit_margin_scale
from pyserini_tasb.training.optimisation import Optimisation
from pyserini_tasb.training.sampling import build_sampler
from pyserini_tasb.training.students import load_student, load_teacher
from pyserini_tasb.training.teachers import KIND_OF_A_MODEL, InBatchTeacher, load_in_batch_teacher
from pyserini_tasb.training.validation import DualEncoderValidator, PairValidator, Validator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.training.config import LossConfig, MarginsConfig, RunConfig, TeachConfig, TrainConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.sampling import Sampler
    from pyserini_tasb.training.students import CrossEncoder, DualEncoder, LateInteraction, Student
    from pyserini_tasb.training.teacher_vectors import VectorTeacher


AnyStudent = TypeVar("AnyStudent", bound="Student[Any]")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assembly(Generic[AnyStudent]):
    """All that takes part in a run, in one process.

    Attributes:
        config: the run's configuration.
        processes: this process among all that train together.
        store: the pairs.
        sampler: composes batches of them.
        tokenising: how their texts become tokens.
        student: what is trained.
        teacher: scores every query of a batch with all its passages; None without an in-batch loss.
        loss: what is minimised.
        rescale: the scale that the teachers' margins are brought to; None leaves them.
        validator: measures the student; None without a validation set.
        optimisation: moves the weights.
    """

    config: RunConfig
    processes: Processes
    store: PairStore
    sampler: Sampler
    tokenising: Tokenising
    student: AnyStudent
    teacher: InBatchTeacher | VectorTeacher | None
    loss: LossConfig
    rescale: MarginsConfig | None
    validator: Validator | None
    optimisation: Optimisation

    def measured_margins(self) -> MarginScale:
        """Both teachers' margins, measured, and brought to the configured scale."""
        pairwise = None if self.loss.pairwise is None else PAIRWISE[self.loss.pairwise]
        return fit_margin_scale(
            self.store,
            self.teacher,
            self.rescale,
            key=self.config.RESCALE,
            # A loss that learns ranks does not see how large margins are.
            pairwise_counts=pairwise is not None and pairwise.needs_margins and not pairwise.takes_ranks,
            student_scores=self.student.scores_are,
        )


def assemble(config: TrainConfig, processes: Processes) -> Assembly[DualEncoder]:
    """Open the data and load the models of a student's training.

    Raises:
        TasbError: something is not here, or does not fit the rest.
    """
    store = _open_pairs(config, processes, pairwise=config.loss.pairwise)
    sampling, caps = config.sampling, config.student
    clusters_file = None if sampling.strategy in WITHOUT_CLUSTERS else config.data.clusters_file
    clusters = (
        None
        if clusters_file is None
        else clusters_in_store(clusters_file, store, note=_log if processes.first else _ignore)
    )
    sampler = build_sampler(
        sampling.strategy,
        store,
        batch_size=config.batch_size,
        seed=config.seed,
        clusters=clusters,
        clusters_per_batch=sampling.clusters_per_batch,
        bins=sampling.bins,
        binning=sampling.binning,
        margin_cutoff=(sampling.lowest_margin, sampling.highest_margin),
        negatives=sampling.negatives,
    )
    if processes.first:
        _warn_of_few_clusters(config, None if clusters is None else len(clusters))
        _note_few_negatives(store, sampling.negatives)
    student = load_student(caps, device=found_device(config.device), precision=config.precision)
    _require_lengths(config, student)
    tokenising = Tokenising(
        student.folder, caps.query_max_length, caps.passage_max_length, caps.query_prefix, caps.passage_prefix
    )
    if processes.world > 1:
        more = {} if clusters_file is None else {"clusters": sha256(clusters_file)}
        if config.loss.needs_teacher and config.teacher.in_batch and config.teacher.kind in KINDS_WITH_A_MODEL:
            more["in-batch teacher"] = model_digest(config.teacher.in_batch, allow_bin=config.teacher.allow_bin)
        _require_same_parts(config, processes, store, student, more)
    teacher = None
    if config.loss.needs_teacher:
        teacher = load_in_batch_teacher(config, student, store, processes)
    validator = None
    if config.data.validation is not None:
        validation_set = ValidationSet(config.data.validation)
        warning = overlap_warning(validation_set.queries, store.queries)
        if warning and processes.first:
            LOG.warning("%s", warning)
        validator = DualEncoderValidator(validation_set, student, tokenising, config.validation.measure, processes)
    return Assembly(
        config,
        processes,
        store,
        sampler,
        tokenising,
        student,
        teacher,
        config.loss,
        config.teacher.rescale,
        validator,
        _optimisation(student, config),
    )


def assemble_teacher(config: TeachConfig, processes: Processes) -> Assembly[CrossEncoder | LateInteraction]:
    """Open the data and load the model of a teacher's own training.

    Raises:
        TasbError: something is not here, or does not fit the rest.
    """
    from pyserini_tasb.training.config import LossConfig  # brings pydantic

    store = _open_pairs(config, processes, pairwise=config.loss)
    student = load_teacher(config, device=found_device(config.device))
    tokenising = Tokenising(student.folder, config.teacher.query_max_length, config.teacher.passage_max_length)
    if processes.world > 1:
        _require_same_parts(config, processes, store, student, {})
    validator = None
    if config.data.validation is not None:
        validation_set = ValidationSet(config.data.validation)
        validator = PairValidator(validation_set, student, tokenising, config.validation.measure, processes)
    return Assembly(
        config,
        processes,
        store,
        build_sampler("random", store, batch_size=config.batch_size, seed=config.seed),
        tokenising,
        student,
        None,
        LossConfig(pairwise=config.loss, in_batch=None),
        config.rescale,
        validator,
        _optimisation(student, config),
    )


def _open_pairs(config: RunConfig, processes: Processes, *, pairwise: str | None) -> PairStore:
    """Open the pairs. Refuse pairs whose teacher contradicts most labels, or too few pairs.

    Raises:
        TasbError: no margins to learn, most of them negative, or less than one query for each process.
    """
    store = open_pair_store(config.data.pairs)
    if pairwise is not None and PAIRWISE[pairwise].needs_margins and store.supervision == "labels":
        raise TasbError(
            where=str(store.folder),
            expected=f"pairs with a teacher's scores or margins, for the pairwise loss {pairwise}",
            found="pairs with labels only",
            do="choose the loss `ranknet`, or score the pairs (`tasb score --model TEACHER`)",
        )
    agreement = Agreement.of_store(store)
    if agreement:
        # Whoever built the store with the switch has decided.
        decided = store.manifest.get("recipe", {}).get("allow_reversed", False)
        agreement.require(
            where=str(store.folder),
            allowed=config.data.allow_reversed or decided,
            allow="`data: {allow_reversed: true}`",
            do="build the store again with the columns in the right order",
        )
    if config.batch_size < processes.world:
        raise TasbError(
            expected="a batch with a query for each process",
            found=f"batch_size {config.batch_size}, {processes.world} processes",
            do="start fewer processes, or raise batch_size",
        )
    if processes.first:
        _warn_of_warmup(config)
    return store


# Strategies of ours that do not read the clusters.
WITHOUT_CLUSTERS = ("random", "balanced")
# Kinds of in-batch teachers whose name is a model's; None finds out.
KINDS_WITH_A_MODEL = {None, *KIND_OF_A_MODEL.values()}


def _require_same_parts(
    config: RunConfig,
    processes: Processes,
    store: PairStore,
    student: Student[Any],
    more: Mapping[str, str],
) -> None:
    """Compare the content of what every process has opened: paths can be the same, and files differ between nodes.

    Raises:
        TasbError: the processes differ; the same error in every process.
    """
    contents = {"pairs": store.fingerprint, "model": folder_digest(student.folder), **more}
    if config.data.validation is not None:
        contents["validation set"] = ValidationSet(config.data.validation).fingerprint
    processes.require_same(
        contents,
        expected="files with the same content",
        do="copy them anew, or name files on a disk that all nodes have",
    )
    processes.require_same(
        {"number format": str(student.compute).removeprefix("torch.")},
        expected="the same number format",
        do="use nodes with processors of one kind, or `precision: fp32`",
    )


def _warn_of_few_clusters(config: TrainConfig, clusters: int | None) -> None:
    """Say so where every batch has queries of all clusters."""
    if clusters is not None and clusters <= config.sampling.clusters_per_batch:
        LOG.warning(
            "the queries of the pairs are in %d cluster%s, and every batch draws from %d (sampling.clusters_per_batch)."
            " So the queries of a batch share no topic, as with sampling.strategy random. Make more clusters "
            "(`tasb cluster`)",
            *(clusters, "s" if clusters > 1 else "", config.sampling.clusters_per_batch),
        )


def _require_lengths(config: TrainConfig, student: DualEncoder) -> None:
    """Refuse lengths that vectors cannot have, or that leave out whole vectors, which every command uses by default."""
    lengths, whole = config.loss.matryoshka, student.model.dimension
    if lengths is not None and max(lengths.dimensions) != whole:
        raise TasbError(
            expected=f"`loss.matryoshka.dimensions` with {whole}, the student's own, as the longest",
            found=", ".join(map(str, lengths.dimensions)),
            do=f"add {whole}, and remove longer ones" if max(lengths.dimensions) > whole else f"add {whole}",
        )


def _note_few_negatives(store: PairStore, wanted: int) -> None:
    """Say so where positives have fewer negatives than a batch takes of each."""
    if wanted == 1:
        return
    # A positive's pairs are in a row; it may be another query's, too.
    begins = np.union1d(np.flatnonzero(np.diff(store.positives)) + 1, store.offsets[:-1][np.diff(store.offsets) > 0])
    counts = np.diff(begins, append=len(store))
    few = int((counts < wanted).sum())
    if few:
        LOG.info(
            "%s of the %s queries' positives have fewer than %d negatives (sampling.negatives): these come several "
            "times in a batch",
            *(f"{few:,}", f"{len(counts):,}", wanted),
        )


def found_device(device: str) -> str:
    """`auto` as this process's GPU, or the CPU."""
    if device != "auto":
        require_device(device)
        return device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"  # with torchrun, each process has set its own


def _warn_of_warmup(config: RunConfig) -> None:
    """Say so where the learning rate never rises to what is configured: training then hardly changes the model."""
    steps, rate = config.max_steps, config.optimiser.learning_rate
    if steps is not None and steps < config.schedule.warmup_steps and config.schedule.name != "released":
        LOG.warning(
            "the warm-up of %s steps is longer than the training of %s: the learning rate ends at %.2g, not %.2g; "
            "lower schedule.warmup_steps",
            config.schedule.warmup_steps,
            steps,
            rate * steps / config.schedule.warmup_steps,
            rate,
        )


def _optimisation(student: Student[Any], config: RunConfig) -> Optimisation:
    parameters = [parameter for parameter in student.model.parameters() if parameter.requires_grad]
    return Optimisation(parameters, config, fp16=student.compute is torch.float16)


def _log(note: str) -> None:
    LOG.info("%s", note)


def _ignore(_note: str) -> None:
    """In processes that say nothing."""
