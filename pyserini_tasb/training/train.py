"""`tasb train` and `tasb teach`: train what a configuration describes, from the start or from where it stopped."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.models.bert_cat import BertCat, save_bert_cat
from pyserini_tasb.models.colbert import ColBert, save_colbert
from pyserini_tasb.models.tokenizers import load_tokenizer
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.training.assembly import TeachAssembly, assemble, assemble_teacher
from pyserini_tasb.training.checkpoints import MODEL, claimed
from pyserini_tasb.training.config import TeachCatConfig, TeachColBertConfig, TrainConfig
from pyserini_tasb.training.distributed import processes_of_torchrun
from pyserini_tasb.training.loop import Trainer
from pyserini_tasb.training.model_card import write_teacher_model_card
from pyserini_tasb.training.results import check_card_name, finish, load_best, model_folder, provenance
from pyserini_tasb.workers import INTERRUPTED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pyserini_tasb.training.students import Trainable


def run(arguments: argparse.Namespace) -> int:
    """Train what a configuration describes, from the start or from where it stopped."""
    config = load_recipe(Path(arguments.config), TrainConfig, arguments.set)
    return train_student(config, resume=arguments.resume, to_go_on=resume_command("train", arguments))


def train_student(config: TrainConfig, *, resume: bool, to_go_on: str) -> int:
    """Train to the end, or until asked to stop; return the process's exit status.

    Args:
        config: of the run.
        resume: whether a run that is there may go on.
        to_go_on: the command for that, to be shown when training is interrupted.

    Raises:
        TasbError: something is not here, does not fit the rest, or cannot be written.
    """
    check_card_name(config.name, config.output / MODEL)  # afterwards would be late to hear of it
    with processes_of_torchrun(config.device) as processes:
        parts = assemble(config, processes)

        def leave_model(trainer: Trainer) -> list[str]:
            card, path = finish(parts, trainer)
            use = f"python -m pyserini.search.faiss --encoder tasb:{card.name} …"
            return [f"model {card.model}", f"card  {path}", f"use   {use}"]

        return train(
            parts,
            resume=resume,
            computing=str(parts.student.compute).removeprefix("torch."),
            to_go_on=to_go_on,
            finish=leave_model,
        )


def resume_command(verb: str, arguments: argparse.Namespace) -> str:
    """What to type to go on with an interrupted run."""
    return f"{same_command(verb, arguments)} --resume"


def same_command(verb: str, arguments: argparse.Namespace) -> str:
    """What was typed: a verb, its configuration, and what was set over it."""
    settings = [part for setting in arguments.set for part in ("--set", setting)]
    return shlex.join(["tasb", *verb.split(), arguments.config, *settings])


# --------
# One process's part of a run: claim its folder, train, say how it ended.


def train(
    parts: Trainable, *, resume: bool, computing: str, to_go_on: str, finish: Callable[[Trainer], list[str]]
) -> int:
    """Train to the end, or until asked to stop; return the process's exit status.

    Args:
        parts: what takes part.
        resume: whether a run that is there may go on.
        computing: the type that matrices are multiplied in, to be shown.
        to_go_on: the command for that, to be shown when training is interrupted.
        finish: writes what the run leaves behind, and returns lines to be shown; called in the first process.
    """
    first = parts.processes.first
    with claimed(parts.config, resume=resume) if first else contextlib.nullcontext():
        parts.processes.wait_for_all()
        trainer = Trainer(parts, resume=resume)
        if first:
            beginning = f"going on after step {trainer.done:,}" if trainer.done else "from the start"
            agreement = Agreement.of_store(parts.store)
            if agreement:
                print(f"pairs: the teacher {agreement}")
                print("".join(f"warning: {warning}\n" for warning in [agreement.warning] if warning), end="")
            print(f"computing in {computing}; {beginning}", flush=True)
        ending = trainer.run()
        if not first:
            return INTERRUPTED if ending == "interrupted" else 0
        if ending == "interrupted":
            print(f"\nstopped after step {trainer.done:,}, which is saved; go on with\n  {to_go_on}")
            return INTERRUPTED
        left = finish(trainer)
    print(f"\n{trainer.done:,} steps in {trainer.seconds:,.0f} s; ended by {ending}")
    best = trainer.stopping
    if best.best_value is not None:
        print(f"best {parts.config.validation.measure} {best.best_value:.4f} at step {best.best_step:,}")
    print("\n".join(left))
    return 0


# --------
# `tasb teach --kind cat`, `tasb teach --kind colbert`.

CONFIGS = {"cat": TeachCatConfig, "colbert": TeachColBertConfig}
WHAT = {
    "cat": "A cross-encoder (BERT_CAT): query and passage are read together; the score is linear in the CLS vector.",
    "colbert": "A late-interaction re-ranker (ColBERT): a vector for every token; the score is the sum over query "
    "tokens of the largest dot product with a token of the passage.",
}
USES = {
    "cat": ("tasb score --model FOLDER --pairs pairs.tsv --corpus C --topics Q --output scores.tsv",),
    "colbert": ("tasb train config.yaml --set teacher.in_batch=FOLDER",),
}
RERANK = "tasb rerank --run bm25.txt --model FOLDER --topics Q --corpus C --output reranked.txt"


def run_teach(arguments: argparse.Namespace) -> int:
    """Train a teacher, from the start or from where it stopped."""
    config = load_recipe(Path(arguments.config), CONFIGS[arguments.teacher], arguments.set)
    with processes_of_torchrun(config.device) as processes:
        parts = assemble_teacher(config, processes)
        return train(
            parts,
            resume=arguments.resume,
            computing=str(parts.student.compute).removeprefix("torch."),
            to_go_on=resume_command(f"teach --kind {arguments.teacher}", arguments),
            finish=lambda trainer: _finish(arguments.teacher, parts, trainer),
        )


def _finish(teacher: str, parts: TeachAssembly, trainer: Trainer) -> list[str]:
    config, model = parts.config, parts.student.pairs.module
    best = load_best(parts, trainer)
    # A new tokenizer: the one that training used remembers its last truncation.
    with model_folder(config.output, load_tokenizer(parts.student.folder)) as folder:
        if isinstance(model, ColBert):
            save_colbert(folder, model)
        elif isinstance(model, BertCat):
            save_bert_cat(folder, model)
    write_teacher_model_card(
        config.output / MODEL,
        provenance(parts, trainer, config.teacher.model, best),
        name=config.name,
        description=config.description,
        what=WHAT[teacher],
        commands=(*USES[teacher], RERANK),
    )
    folder = config.output / MODEL
    return [f"model {folder}", *(f"use   {use.replace('FOLDER', str(folder))}" for use in (*USES[teacher], RERANK))]
