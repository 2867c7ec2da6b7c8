"""Training from the first step, or from a checkpoint, to the last."""

from __future__ import annotations

import itertools
import json
import logging
import time
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import Interruption, TasbError
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.checkpoints import CHECKPOINTS, Checkpoint, CheckpointFolder, begin
from pyserini_tasb.training.journal import Journal, SilentJournal
from pyserini_tasb.training.margins import MarginScale
from pyserini_tasb.training.step import LossIsNotFiniteError, Stepper
from pyserini_tasb.training.teacher_vectors import VectorTeacher
from pyserini_tasb.training.validation import EarlyStopping
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from pyserini_tasb.training.assembly import Assembly
    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.step import StepReport


LOG = logging.getLogger(__name__)
StopReason = Literal["max_steps", "early stopping"]
BATCHES_AHEAD = 4


class TrainingInterruptedError(Interruption):
    """Ctrl-C, SIGTERM or SIGHUP ended a run, whose last step is saved.

    Attributes:
        step: the last saved step.
        folder: the run's.
        first: whether this process, of all that train together, is the one that writes files.
        world: the number of processes that train together.
    """

    def __init__(self, number: int, step: int, folder: Path, processes: Processes) -> None:
        super().__init__(number, f"stopped after step {step:,}, which is saved in {folder}; the same call continues")
        self.step, self.folder = step, folder
        self.first, self.world = processes.first, processes.world


@contextmanager
def finished_run(parts: Assembly[Any]) -> Iterator[Trainer]:
    """Train to the end, from the newest checkpoint on if there is one; in the block the model is to be written.

    Args:
        parts: what takes part; `claimed` holds the run's folder.

    Raises:
        TasbError: a loss is not finite, or a checkpoint cannot be written.
        TrainingInterruptedError: by Ctrl-C, SIGTERM or SIGHUP, after the last step was saved.
    """
    first = parts.processes.first
    if first:
        begin(parts.config, parts.processes.world)
    parts.processes.wait_for_all()
    trainer = Trainer(parts)
    if first:
        agreement = Agreement.of_store(parts.store)
        if agreement:
            LOG.info("pairs: the teacher %s", agreement)
            if agreement.warning:
                LOG.warning("%s", agreement.warning)
        beginning = f"continuing after step {trainer.done:,}" if trainer.done else "from the start"
        LOG.info("computing in %s; %s", str(parts.student.compute).removeprefix("torch."), beginning)
    trainer.run()
    yield trainer
    parts.processes.wait_for_all()  # until the model is there


class Trainer:
    """One run, which may go on where an earlier process stopped.

    Args:
        parts: what the configuration names, opened and loaded.
    """

    def __init__(self, parts: Assembly[Any]) -> None:
        self._parts, self._config, self._processes = parts, parts.config, parts.processes
        self.checkpoints = CheckpointFolder(self._config.output / CHECKPOINTS, self._config.checkpoint.keep)
        self.done = 0
        self.stopping = EarlyStopping(self._config.validation.patience)
        self.ended_by: StopReason = "max_steps"
        self._began = time.monotonic()
        checkpoint = self._newest()
        self._margins = self._measured_margins() if checkpoint is None else self._restored(checkpoint)
        self._stepper = Stepper(parts, self._margins)

    @property
    def seconds(self) -> float:
        """Spent on this run, by earlier processes too."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Train; the last state is saved, whatever ends it.

        Raises:
            TasbError: a loss is not finite, or a checkpoint cannot be written.
            TrainingInterruptedError: by Ctrl-C, SIGTERM or SIGHUP.
        """
        if self._margins.warning and self._processes.first:
            LOG.warning("%s", self._margins.warning)
        with StopRequest() as stop, self._journal() as journal, closing(self._batches()) as steps:
            never_evaluated = self.stopping == EarlyStopping(self._config.validation.patience)
            if never_evaluated and self._evaluate_if_due(journal):  # the start, which training has to beat
                self._save(journal)
            saved, interrupted = self.done, False
            for batches in steps:
                interrupted = self._processes.any(stop.made)
                if interrupted:
                    break
                if self.stopping.should_stop:
                    self.ended_by = "early stopping"
                    break
                report = self._step(batches)
                journal.step(self.done, report, self.seconds)
                improved = self._evaluate_if_due(journal)
                if improved or self.done % self._config.checkpoint.every == 0:
                    self._save(journal)
                    saved = self.done
            if saved != self.done or not self.checkpoints.steps():
                self._save(journal)
        if interrupted:
            number = stop.interruption().number
            raise TrainingInterruptedError(number, self.done, self._config.output, self._processes)

    def _step(self, batches: list[TrainingBatch]) -> StepReport:
        try:
            report = self._stepper.run(self.done, batches)
        except LossIsNotFiniteError as error:
            raise self._loss_error(error) from error
        self.done += 1
        return report

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
        """True if there was an evaluation, and its value is the best so far."""
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
                "margins": asdict(self._margins),
                "pairs": self._parts.store.fingerprint,
                "seconds": self.seconds,
                "teacher_vectors": self._teacher_vectors,
            }
            with journal.pause():
                checkpoint = Checkpoint(self.done, self._parts.student.model.state_dict(), moments, state)
                self.checkpoints.save(checkpoint, self.stopping.best_step)
        self._processes.wait_for_all()

    @property
    def _teacher_vectors(self) -> list[str] | None:
        """Digests of the teacher's vectors; None where a model computes them batch by batch."""
        teacher = self._parts.teacher
        return teacher.fingerprint if isinstance(teacher, VectorTeacher) else None

    def _newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, which the first process finds.

        Raises:
            TasbError: another process cannot read it.
        """
        found = self.checkpoints.latest() if self._processes.first else None
        step = self._processes.from_first(lambda: None if found is None else found.step)
        return found if step is None or self._processes.first else self.checkpoints.read(step)

    def _measured_margins(self) -> MarginScale:
        """The margins' scale as the first process measures it: on other hardware, the last bits may be others."""
        return MarginScale.from_json(self._processes.from_first(lambda: asdict(self._parts.measured_margins())))

    def _restored(self, checkpoint: Checkpoint) -> MarginScale:
        """Go back to the checkpoint; return the margins' scale that the run began with."""
        state = checkpoint.state
        if state["pairs"] != self._parts.store.fingerprint:
            raise TasbError(
                where=str(self._parts.store.folder),
                expected="the pair store that the run began with",
                found="another one",
                do="put it back to continue this run, or choose another `output` for a new one",
            )
        if state.get("teacher_vectors") != self._teacher_vectors:
            raise TasbError(
                where=str(self._config.output),
                expected="the vectors of the in-batch teacher that the run began with",
                found="others",
                do="put them back to continue this run, or choose another `output` for a new one",
            )
        self._parts.student.model.load_state_dict(checkpoint.model)
        self._parts.optimisation.restore(checkpoint.optimiser, state["loss_scale"])
        patience = {"patience": self._config.validation.patience}  # may be changed in between
        self.stopping = EarlyStopping.from_json(state["early_stopping"] | patience)
        self.done = checkpoint.step
        self._began = time.monotonic() - state["seconds"]
        return MarginScale.from_json(state["margins"])

    def _loss_error(self, error: LossIsNotFiniteError) -> TasbError:
        path = self._config.output / f"failed-batch-{error.batch.step}.json"
        if self._processes.first:
            write_whole(path, json.dumps(self._described(error), indent=1, ensure_ascii=False))
        return TasbError(
            where=str(path),
            expected="a finite loss",
            found=f"{error.loss.total.item()} at step {self.done} (that file has the batch)",
            do="check the batch's margins and texts; a lower learning rate, optimiser.clip_norm or precision: fp32 "
            "may help; "
            + ("the last checkpoint is from before" if self.checkpoints.steps() else "there is no checkpoint yet"),
        )

    def _described(self, error: LossIsNotFiniteError) -> dict[str, Any]:
        store, batch, loss = self._parts.store, error.batch, error.loss
        parts = {"loss": loss.total, "pairwise": loss.pairwise, "in_batch": loss.in_batch}
        queries, positives = (numbers.repeat(batch.negatives_per_query) for numbers in (batch.queries, batch.positives))
        columns = {"query": store.queries.ids(queries), "query_text": store.queries.texts(queries)}
        for side, numbers in (("positive", positives), ("negative", batch.negatives.ravel())):
            columns |= {side: store.passages.ids(numbers), f"{side}_text": store.passages.texts(numbers)}
        if batch.margins is not None:
            columns["margin"] = [str(margin) for margin in batch.margins.ravel().tolist()]
        pairs = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        shown = {name: str(part.item()) for name, part in parts.items() if part is not None}
        return {"step": self.done, **shown, "pairs": pairs}
