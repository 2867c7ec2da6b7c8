"""`tasb train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.train.assembly import assemble
from pyserini_tasb.train.config import TrainConfig
from pyserini_tasb.train.distributed import processes_of_torchrun
from pyserini_tasb.train.finish import finish
from pyserini_tasb.train.report.encoder_card import check_card_name
from pyserini_tasb.train.run_folder import MODEL
from pyserini_tasb.train.session import train

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.train.loop import Trainer


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
