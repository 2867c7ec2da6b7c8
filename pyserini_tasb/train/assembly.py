"""What a configuration names, opened and loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.clusters.cluster_file import clusters_of
from pyserini_tasb.train.in_batch_teacher import InBatchTeacher
from pyserini_tasb.train.optimisation import Optimisation
from pyserini_tasb.train.sampling import build_sampler
from pyserini_tasb.train.store import open_pair_store
from pyserini_tasb.train.student import load_student
from pyserini_tasb.train.validation import ValidationSet, overlap_warning
from pyserini_tasb.train.validator import Validator

if TYPE_CHECKING:
    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.train.config import TrainConfig
    from pyserini_tasb.train.distributed import Processes
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


def assemble(config: TrainConfig, processes: Processes) -> Assembly:
    """Open the data and load the models.

    Raises:
        TasbError: something is not here, or does not fit the rest.
    """
    note = _print_note if processes.first else _ignore
    store = open_pair_store(config.data.pairs)
    _require_enough(config, processes, store)
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
    device = _device(config.device)
    student = load_student(config.student, device=device, precision=config.precision)
    teacher = None
    if config.loss.in_batch is not None and config.teacher.in_batch is not None:
        precision: Precision = "fp32" if student.compute is torch.float32 else "bf16"
        teacher = InBatchTeacher(config.teacher.in_batch, student, config.student, precision)
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


def _require_enough(config: TrainConfig, processes: Processes, store: PairStore) -> None:
    if config.loss.pairwise == "margin-mse" and store.supervision == "labels":
        raise TasbError(
            where=str(store.folder),
            expected="pairs with a teacher's scores or margins, for loss.pairwise margin-mse",
            found="pairs with labels only",
            do="set `loss.pairwise: ranknet`, or score the pairs (`tasb data mine --score-with ENCODER`)",
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


def _device(device: str) -> str:
    if device != "auto":
        return device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"  # with torchrun, each process has set its own
