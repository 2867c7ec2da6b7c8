"""What a configuration names, opened and loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.clusters.cluster_file import clusters_of
from pyserini_tasb.train.dual_encoder import DualEncoderForward
from pyserini_tasb.train.in_batch import InBatchTeacher, load_in_batch_teacher
from pyserini_tasb.train.margin_scale import MarginScale, fit_margin_scale
from pyserini_tasb.train.objective import Objective
from pyserini_tasb.train.optimisation import Optimisation
from pyserini_tasb.train.sampling import Tokenising, build_sampler
from pyserini_tasb.train.store import open_pair_store
from pyserini_tasb.train.store.agreement import Agreement
from pyserini_tasb.train.student import load_student
from pyserini_tasb.train.validation import ValidationSet, overlap_warning
from pyserini_tasb.train.validator import Validator

if TYPE_CHECKING:
    from pyserini_tasb.model.bert_dot import BertDot
    from pyserini_tasb.train.config import TrainConfig
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.run_config import RunConfig
    from pyserini_tasb.train.sampling import Sampler
    from pyserini_tasb.train.store import PairStore
    from pyserini_tasb.train.student import Student


@dataclass(frozen=True)
class Assembly:
    """All that takes part in a run, in one process."""

    config: TrainConfig
    processes: Processes
    store: PairStore
    sampler: Sampler
    student: Student
    teacher: InBatchTeacher | None
    validator: Validator | None
    optimisation: Optimisation

    @property
    def model(self) -> BertDot:
        """What is trained."""
        return self.student.model

    def margin_scale(self) -> MarginScale:
        """Both teachers' margins, measured, and brought to the configured scale."""
        normalised = self.config.student.normalise
        return fit_margin_scale(self.store, self.teacher, self.config.teacher.rescale, normalised_student=normalised)

    def forward(self, margins: MarginScale) -> DualEncoderForward:
        """From batches to losses."""
        objective = Objective(self.config.loss, margins.pairwise, margins.in_batch)
        return DualEncoderForward(self.student, self.teacher, objective, self.config, self.processes)

    @property
    def tokenising(self) -> Tokenising:
        """How batches' texts become tokens."""
        student = self.config.student
        return Tokenising(
            self.student.folder,
            student.query_max_length,
            student.passage_max_length,
            student.query_prefix,
            student.passage_prefix,
        )


def assemble(config: TrainConfig, processes: Processes) -> Assembly:
    """Open the data and load the models.

    Raises:
        TasbError: something is not here, or does not fit the rest.
    """
    note = _print_note if processes.first else _ignore
    store = open_pair_store(config.data.pairs)
    require_enough(store, config, processes, needs_margins=config.loss.pairwise == "margin-mse")
    sampling = config.sampling
    clusters = None if sampling.strategy == "random" else config.data.clusters
    sampler = build_sampler(
        sampling.strategy,
        store,
        batch_size=config.batch_size,
        seed=config.seed,
        clusters=None if clusters is None else clusters_of(clusters, store, note=note),
        clusters_per_batch=sampling.clusters_per_batch,
        bins=sampling.bins,
        binning=sampling.binning,
        margin_cutoff=(sampling.lowest_margin, sampling.highest_margin),
    )
    device = found_device(config.device)
    student = load_student(config.student, device=device, precision=config.precision)
    teacher = None
    if config.loss.in_batch is not None and config.teacher.in_batch is not None:
        teacher = load_in_batch_teacher(config, student, store, processes)
    validator = None
    if config.data.validation is not None:
        validation_set = ValidationSet(config.data.validation)
        warning = overlap_warning(validation_set.queries, store.queries)
        if warning:
            note(warning)
        validator = Validator(validation_set, student, config, processes)
    parameters = [parameter for parameter in student.model.parameters() if parameter.requires_grad]
    optimisation = Optimisation(parameters, config, fp16=student.compute is torch.float16)
    return Assembly(config, processes, store, sampler, student, teacher, validator, optimisation)


def require_enough(store: PairStore, config: RunConfig, processes: Processes, *, needs_margins: bool) -> None:
    """Refuse to begin where pairs or queries are missing, or where the pairs' teacher contradicts most labels.

    Raises:
        TasbError: no margins to learn, most of them negative, or less than one query for each process.
    """
    if needs_margins and store.supervision == "labels":
        raise TasbError(
            where=str(store.folder),
            expected="pairs with a teacher's scores or margins, for the pairwise loss margin-mse",
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
            do="build the store again with the columns in order",
        )
    if config.batch_size < processes.world:
        raise TasbError(
            expected="a batch with a query for each process",
            found=f"batch_size {config.batch_size}, {processes.world} processes",
            do="start fewer processes, or raise batch_size",
        )


def _print_note(text: str) -> None:
    print(f"tasb train: note: {text}", file=sys.stderr)


def _ignore(_note: str) -> None:
    """Of the processes that print nothing."""


def found_device(device: str) -> str:
    """`auto` as this process's GPU, or the CPU."""
    if device != "auto":
        return device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"  # with torchrun, each process has set its own
