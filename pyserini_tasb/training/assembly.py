"""What a configuration names, opened and loaded: for a student, and for a teacher."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.data.cluster_file import clusters_in_store
from pyserini_tasb.data.pair_store import Agreement, open_pair_store
from pyserini_tasb.data.validation_set import ValidationSet, overlap_warning
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.bert_cat import load_bert_cat, new_bert_cat
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.colbert import ColBert, load_colbert, new_colbert
from pyserini_tasb.models.kinds import kind_of
from pyserini_tasb.models.on_cpu import prepare_for_cpu
from pyserini_tasb.models.tokenizers import load_tokenizer, require_cls_token, require_vocabulary
from pyserini_tasb.training.batches import Tokenising
from pyserini_tasb.training.config import ColBertModel, TeachConfig
from pyserini_tasb.training.forward import DualEncoderForward, Objective, PairForward
from pyserini_tasb.training.margins import MarginScale, fit_margin_scale
from pyserini_tasb.training.optimisation import Optimisation
from pyserini_tasb.training.sampling import build_sampler
from pyserini_tasb.training.students import CatPairs, ColBertPairs, PairModel, PairStudent, load_student, set_dropout
from pyserini_tasb.training.teachers import InBatchTeacher, load_in_batch_teacher
from pyserini_tasb.training.validation import PairValidator, Validator

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.models.bert_dot import BertDot
    from pyserini_tasb.training.config import RunConfig, TrainConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.sampling import Sampler
    from pyserini_tasb.training.students import Student


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
        clusters=None if clusters is None else clusters_in_store(clusters, store, note=note),
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


# --------
# What a teacher's configuration names, opened and loaded.

KEPT = ("dimension", "query_masks")  # by a ColBERT that is taught further


@dataclass(frozen=True)
class TeachAssembly:
    """All that takes part in a teacher's run, in one process."""

    config: TeachConfig
    processes: Processes
    store: PairStore
    sampler: Sampler
    student: PairStudent
    validator: PairValidator | None
    optimisation: Optimisation

    @property
    def model(self) -> torch.nn.Module:
        """What is trained."""
        return self.student.pairs.module

    @property
    def tokenising(self) -> Tokenising:
        """How batches' texts become tokens."""
        caps = self.config.teacher
        return Tokenising(self.student.folder, caps.query_max_length, caps.passage_max_length)

    def margin_scale(self) -> MarginScale:
        """The margins to be learned, measured, and brought to the configured scale."""
        margins = fit_margin_scale(self.store, None, self.config.rescale)
        # A scale that somebody chose is right: cross-encoders and sums over a query's tokens have no usual one.
        return margins if self.config.rescale is None else replace(margins, warning=None)

    def forward(self, margins: MarginScale) -> PairForward:
        """From batches to losses."""
        return PairForward(self.student, margins.pairwise, self.config, self.processes)


def assemble_teacher(config: TeachConfig, processes: Processes) -> TeachAssembly:
    """Open the data and load the model.

    Raises:
        TasbError: something is not here, or does not fit the rest.
    """
    store = open_pair_store(config.data.pairs)
    require_enough(store, config, processes, needs_margins=config.loss == "margin-mse")
    student = _load(config)
    validator = None
    if config.data.validation is not None:
        validator = PairValidator(ValidationSet(config.data.validation), student, config, processes)
    parameters = [parameter for parameter in student.pairs.module.parameters() if parameter.requires_grad]
    return TeachAssembly(
        config,
        processes,
        store,
        build_sampler("random", store, batch_size=config.batch_size, seed=config.seed),
        student,
        validator,
        Optimisation(parameters, config, fp16=student.compute is torch.float16),
    )


def _load(config: TeachConfig) -> PairStudent:
    start = config.teacher
    folder = find_checkpoint(start.model, allow_bin=start.allow_bin)
    device = found_device(config.device)
    tokenizer = load_tokenizer(folder)
    pairs: PairModel
    if isinstance(start, ColBertModel):
        pairs = _colbert(start, folder, config.seed, tokenizer)
    else:
        pairs = _cat(folder, config.seed)
    require_cls_token(lambda texts: tokenizer(texts)["input_ids"], str(folder))
    _require_joined_as_bert(tokenizer, folder)
    model = pairs.module.to(device).train()
    require_vocabulary(tokenizer, model.transformer, str(folder))
    set_dropout(model, start.dropout, start.attention_dropout)
    if torch.device(device).type == "cpu":
        prepare_for_cpu(model.transformer)
    compute = compute_type("fp32" if config.precision == "fp32" else "bf16", device)
    return PairStudent(pairs, folder, tokenizer, device, compute)


def _cat(folder: Path, seed: int) -> CatPairs:
    kind = kind_of(folder)
    if kind not in {"bert-dot", "bert-cat"}:
        raise _no_start(folder, "a transformer without a head, or a BERT_Cat to go on with", kind)
    model = load_bert_cat(folder) if kind == "bert-cat" else new_bert_cat(folder, seed=seed)
    return CatPairs(model, segments=getattr(model.transformer.config, "type_vocab_size", 1) > 1)


def _colbert(start: ColBertModel, folder: Path, seed: int, tokenizer: Any) -> ColBertPairs:
    kind = kind_of(folder)
    if kind not in {"bert-dot", "colbert"}:
        raise _no_start(folder, "a transformer without a head, or a ColBERT to go on with", kind)
    if kind == "colbert":
        model = load_colbert(folder)
        _require_kept(start, model, folder)
    else:
        given = {name: value for name in KEPT if (value := getattr(start, name)) is not None}
        model = new_colbert(folder, seed=seed, **given)
    if model.query_masks and tokenizer.mask_token_id is None:
        raise _no_start(folder, "a tokenizer with a [MASK] token, or `teacher.query_masks: 0`", "none")
    return ColBertPairs(model, int(tokenizer.mask_token_id or 0))


def _require_kept(start: ColBertModel, model: ColBert, folder: Path) -> None:
    for name in KEPT:
        given, own = getattr(start, name), getattr(model, name)
        if given not in {None, own}:
            raise TasbError(
                where=str(folder),
                expected=f"a ColBERT with `teacher.{name}: {given}`, to go on with",
                found=str(own),
                do=f"leave out `teacher.{name}`, or start from a transformer without a head",
            )


def _no_start(folder: Path, expected: str, kind: str) -> TasbError:
    return TasbError(where=str(folder), expected=expected, found=kind, do="choose another `teacher.model`")


def _require_joined_as_bert(tokenizer: Any, folder: Path) -> None:
    """Batches are tokenised text by text; query and passage are then joined as BERT's tokenizers do."""
    query, passage = "what ranks", "a model"
    ids = [tokenizer(text)["input_ids"] for text in (query, passage)]
    joined = tokenizer(query, passage)["input_ids"]
    if joined != ids[0] + ids[1][1:]:
        raise TasbError(
            where=str(folder),
            expected="a tokenizer that writes pairs as `[CLS] query [SEP] passage [SEP]`",
            found=type(tokenizer).__name__,
            do="start from a BERT-like model (BERT, DistilBERT, MiniLM, ELECTRA)",
        )
