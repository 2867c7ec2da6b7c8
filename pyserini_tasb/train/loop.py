"""Training from the first step, or from a checkpoint, to the last."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.errors import TasbError
from pyserini_tasb.interruption import StopRequest
from pyserini_tasb.train.checkpoint import Checkpoint, CheckpointFolder
from pyserini_tasb.train.journal import Journal, SilentJournal
from pyserini_tasb.train.losses import MarginRescale
from pyserini_tasb.train.margin_scale import MarginScale
from pyserini_tasb.train.run_folder import CHECKPOINTS
from pyserini_tasb.train.sampling import training_batches
from pyserini_tasb.train.step import LossIsNotFiniteError, Stepper, StepReport
from pyserini_tasb.train.validation import EarlyStopping
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyserini_tasb.train.sampling import TrainingBatch
    from pyserini_tasb.train.trainable import Trainable

Ending = Literal["max_steps", "early stopping", "interrupted"]
BATCHES_AHEAD = 4


class Trainer:
    """One run, which may go on where an earlier process stopped.

    Args:
        parts: what the configuration names, opened and loaded.
        resume: whether to go on from the newest checkpoint, if there is one.
    """

    def __init__(self, parts: Trainable, *, resume: bool) -> None:
        self._parts, self._config, self._processes = parts, parts.config, parts.processes
        self.checkpoints = CheckpointFolder(self._config.output / CHECKPOINTS, self._config.checkpoint.keep)
        self.done = 0
        self.stopping = EarlyStopping(self._config.validation.patience)
        self._began = time.monotonic()
        checkpoint = self.checkpoints.latest() if resume else None
        if checkpoint is None:
            self.margins = parts.margin_scale()
        else:
            self._restore(checkpoint)
        forward = parts.forward(self.margins)
        self._stepper = Stepper(forward, parts.optimisation, self._processes, self._config.seed)

    @property
    def seconds(self) -> float:
        """Spent on this run, by earlier processes too."""
        return time.monotonic() - self._began

    def run(self) -> Ending:
        """Train; the last state is saved whatever the ending.

        Raises:
            TasbError: a loss is not finite, or a checkpoint cannot be written.
        """
        with StopRequest() as stop, self._journal() as journal, closing(self._batches()) as steps:
            if self.margins.warning:
                journal.say(self.margins.warning)
            never_evaluated = self.stopping == EarlyStopping(self._config.validation.patience)
            if never_evaluated and self._evaluate_if_due(journal):  # the start, which training has to beat
                self._save(journal)
            saved = self.done
            for batches in steps:
                ending = self._ending(asked_to_stop=stop.made)
                if ending:
                    break
                report = self._step(batches)
                journal.step(self.done, report, self.seconds)
                improved = self._evaluate_if_due(journal)
                if improved or self.done % self._config.checkpoint.every == 0:
                    self._save(journal)
                    saved = self.done
            else:
                ending = "max_steps"
            if saved != self.done or not self.checkpoints.steps():
                self._save(journal)
        return ending

    def _step(self, batches: list[TrainingBatch]) -> StepReport:
        try:
            report = self._stepper.run(self.done, batches)
        except LossIsNotFiniteError as error:
            raise self._loss_error(error) from error
        self.done += 1
        return report

    def _ending(self, *, asked_to_stop: bool) -> Ending | None:
        if self._processes.any(asked_to_stop):
            return "interrupted"
        return "early stopping" if self.stopping.should_stop else None

    def _batches(self) -> Generator[list[TrainingBatch]]:
        """The batches of each step from here on."""
        config, several = self._config, self._config.accumulate
        batches = training_batches(
            self._parts.store,
            self._parts.sampler,
            self._parts.tokenising,
            start=self.done * several,
            stop=None if config.max_steps is None else config.max_steps * several,
            workers=config.workers,
            ahead=BATCHES_AHEAD,
            rank=self._processes.rank,
            world=self._processes.world,
        )
        with closing(batches):
            while step := list(itertools.islice(batches, several)):
                yield step

    def _evaluate_if_due(self, journal: Journal) -> bool:
        """Whether there was an evaluation, and its value is the best so far."""
        validator = self._parts.validator
        if validator is None or self.done % self._config.validation.every:
            return False
        with journal.pause():
            value = validator.value()
        self.stopping = self.stopping.after(self.done, value)
        improved = self.stopping.best_step == self.done
        journal.evaluated(self.done, validator.measure, value, best=improved, seconds=self.seconds)
        return improved

    def _journal(self) -> Journal:
        return Journal(self._config, self.done) if self._processes.first else SilentJournal()

    def _save(self, journal: Journal) -> None:
        if self._processes.first:
            journal.sync()
            moments, scaler = self._parts.optimisation.state()
            state = {
                "early_stopping": self.stopping.to_json(),
                "loss_scale": scaler,
                "margins": asdict(self.margins),
                "pairs": self._parts.store.fingerprint,
                "seconds": self.seconds,
            }
            with journal.pause():
                checkpoint = Checkpoint(self.done, self._parts.model.state_dict(), moments, state)
                self.checkpoints.save(checkpoint, self.stopping.best_step)
        self._processes.wait_for_all()

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        if state["pairs"] != self._parts.store.fingerprint:
            raise TasbError(
                where=str(self._parts.store.folder),
                expected="the pair store that the run began with",
                found="another one",
                do="put it back to go on with this run, or choose another `output` for a new one",
            )
        self._parts.model.load_state_dict(checkpoint.model)
        self._parts.optimisation.restore(checkpoint.optimiser, state["loss_scale"])
        patience = {"patience": self._config.validation.patience}  # may be changed in between
        self.stopping = EarlyStopping.from_json(state["early_stopping"] | patience)
        scale = state["margins"]
        self.margins = MarginScale(
            MarginRescale(**scale["pairwise"]), MarginRescale(**scale["in_batch"]), scale["warning"]
        )
        self.done = checkpoint.step
        self._began = time.monotonic() - state["seconds"]

    def _loss_error(self, error: LossIsNotFiniteError) -> TasbError:
        path = self._config.output / f"failed-batch-{error.batch.step}.json"
        if self._processes.first:
            write_whole(path, json.dumps(self._described(error), indent=1, ensure_ascii=False))
        return TasbError(
            where=str(path),
            expected="a finite loss",
            found=f"{error.losses.total.item()} at step {self.done} (the batch is in that file)",
            do="look at its margins and texts; a lower learning rate, optimiser.clip_norm or precision: fp32 may help; "
            "the last checkpoint is from before",
        )

    def _described(self, error: LossIsNotFiniteError) -> dict[str, Any]:
        store, batch, losses = self._parts.store, error.batch, error.losses
        parts = {"loss": losses.total, "pairwise": losses.pairwise, "in_batch": losses.in_batch}
        columns = {"query": store.queries.ids(batch.queries), "query_text": store.queries.texts(batch.queries)}
        for side, numbers in (("positive", batch.positives), ("negative", batch.negatives)):
            columns |= {side: store.passages.ids(numbers), f"{side}_text": store.passages.texts(numbers)}
        if batch.margins is not None:
            columns["margin"] = [str(margin) for margin in batch.margins.tolist()]
        pairs = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        shown = {name: str(part.item()) for name, part in parts.items() if part is not None}
        return {"step": self.done, **shown, "pairs": pairs}
