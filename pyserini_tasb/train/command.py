"""`tasb train`."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.train.assembly import assemble
from pyserini_tasb.train.config import TrainConfig
from pyserini_tasb.train.distributed import processes_of_torchrun
from pyserini_tasb.train.finish import finish
from pyserini_tasb.train.loop import Trainer
from pyserini_tasb.train.report.encoder_card import check_card_name
from pyserini_tasb.train.run_folder import MODEL, claimed

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.train.assembly import Assembly

INTERRUPTED = 130


def run(arguments: argparse.Namespace) -> int:
    """Train what a configuration describes, from the start or from where it stopped."""
    config = load_recipe(Path(arguments.config), TrainConfig, arguments.set)
    check_card_name(config.name, config.output / MODEL)  # afterwards would be late to hear of it
    with processes_of_torchrun() as processes:
        parts = assemble(config, processes)
        with claimed(config, resume=arguments.resume) if processes.first else contextlib.nullcontext():
            processes.wait_for_all()
            return _train(parts, arguments)


def _train(parts: Assembly, arguments: argparse.Namespace) -> int:
    config, processes = parts.config, parts.processes
    trainer = Trainer(parts, resume=arguments.resume)
    if processes.first:
        print(_beginning(trainer, parts.student.compute), flush=True)
    ending = trainer.run()
    if not processes.first:
        return INTERRUPTED if ending == "interrupted" else 0
    if ending == "interrupted":
        print(f"\nstopped after step {trainer.done:,}, which is saved; go on with\n  {_command(arguments)}")
        return INTERRUPTED
    card, path = finish(parts, trainer)
    print(f"\n{trainer.done:,} steps in {trainer.seconds:,.0f} s; ended by {ending}")
    if trainer.stopping.best_value is not None:
        best = trainer.stopping
        print(f"best {config.validation.measure} {best.best_value:.4f} at step {best.best_step:,}")
    print(f"model {card.model}\ncard  {path}\nuse   python -m pyserini.search.faiss --encoder tasb:{card.name} …")
    return 0


def _beginning(trainer: Trainer, compute: object) -> str:
    name = str(compute).removeprefix("torch.")
    return f"computing in {name}; " + (f"going on after step {trainer.done:,}" if trainer.done else "from the start")


def _command(arguments: argparse.Namespace) -> str:
    settings = [part for setting in arguments.set for part in ("--set", setting)]
    return shlex.join(["tasb", "train", arguments.config, *settings, "--resume"])
