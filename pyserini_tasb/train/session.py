"""One process's part of a run: claim its folder, train, say how it ended."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pyserini_tasb.interruption import INTERRUPTED
from pyserini_tasb.train.loop import Trainer
from pyserini_tasb.train.run_folder import claimed
from pyserini_tasb.train.store.agreement import Agreement

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserini_tasb.train.trainable import Trainable


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
