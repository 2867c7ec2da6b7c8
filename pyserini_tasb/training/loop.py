"""Training from the first step, or from a checkpoint, to the last."""

from __future__ import annotations

import itertools
import json
import logging
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
import torch

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.checkpoints import CHECKPOINTS, METRICS, TENSORBOARD, Checkpoint, CheckpointFolder, claimed
from pyserini_tasb.training.margins import MarginRescale, MarginScale
from pyserini_tasb.training.metrics import MetricsLog, TensorBoard, truncate_to
from pyserini_tasb.training.progress import Progress
from pyserini_tasb.training.validation import EarlyStopping
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.config import RunConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.forward import Encoded, Losses
    from pyserini_tasb.training.optimisation import Optimisation
    from pyserini_tasb.training.students import Trainable


LOG = logging.getLogger(__name__)
StopReason = Literal["max_steps", "early stopping"]
BATCHES_AHEAD = 4


class TrainingInterruptedError(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a run, whose last step is saved.

    Attributes:
        step: that step.
        folder: the run's.
        first: whether this process, of all that train together, is the one that writes files.
    """

    def __init__(self, step: int, folder: Path, *, first: bool) -> None:
        super().__init__(f"stopped after step {step:,}, which is saved in {folder}; go on with resume=True")
        self.step, self.folder, self.first = step, folder, first


@contextmanager
def finished_run(parts: Trainable, *, resume: bool) -> Iterator[Trainer]:
    """Train to the end; in the block the run's folder is still this run's, for the model to be written.

    Args:
        parts: what takes part.
        resume: whether a run that is there may go on.

    Raises:
        TasbError: the folder has another run, a loss is not finite, or a checkpoint cannot be written.
        TrainingInterruptedError: by Ctrl-C or SIGTERM, after the last step was saved.
    """
    first = parts.processes.first
    with claimed(parts.config, resume=resume) if first else nullcontext():
        parts.processes.wait_for_all()
        trainer = Trainer(parts, resume=resume)
        if first:
            agreement = Agreement.of_store(parts.store)
            if agreement:
                LOG.info("pairs: the teacher %s", agreement)
                if agreement.warning:
                    LOG.warning("%s", agreement.warning)
            beginning = f"going on after step {trainer.done:,}" if trainer.done else "from the start"
            LOG.info("computing in %s; %s", str(parts.student.compute).removeprefix("torch."), beginning)
        trainer.run()
        yield trainer
        parts.processes.wait_for_all()  # until the model is there


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
        self.ended_by: StopReason = "max_steps"
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

    def run(self) -> None:
        """Train; the last state is saved, whatever ends it.

        Raises:
            TasbError: a loss is not finite, or a checkpoint cannot be written.
            TrainingInterruptedError: by Ctrl-C or SIGTERM.
        """
        if self.margins.warning and self._processes.first:
            LOG.warning("%s", self.margins.warning)
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
            raise TrainingInterruptedError(self.done, self._config.output, first=self._processes.first)

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


# --------
# One step of training: batches in, weights moved.


class LossIsNotFiniteError(Exception):
    """A batch's loss is infinite or not a number; the weights are as they were before it."""

    def __init__(self, batch: TrainingBatch, losses: Losses) -> None:
        super().__init__(f"the loss of batch {batch.step} is {losses.total.item()}")
        self.batch, self.losses = batch, losses


class Forward(Protocol):
    """The way from a batch to its loss."""

    def __call__(self, batch: TrainingBatch, seed: int) -> tuple[Encoded[Any], Losses]:
        """What the model made of this process's share, and the whole batch's loss of it; `seed` is the dropout's."""


@dataclass(frozen=True)
class StepReport:
    """What one step did: means of its batches' losses, and the tokens of this process's share of them."""

    loss: float
    pairwise: float | None
    in_batch: float | None
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_with_padding: int


class Stepper:
    """Runs steps.

    Args:
        forward: from batches to losses.
        optimisation: moves the weights.
        processes: all that train together.
        seed: of the run.
    """

    def __init__(self, forward: Forward, optimisation: Optimisation, processes: Processes, seed: int) -> None:
        self._forward, self._optimisation, self._processes, self._seed = forward, optimisation, processes, seed

    def run(self, step: int, batches: Sequence[TrainingBatch]) -> StepReport:
        """Train on `batches`, whose gradients are averaged.

        Raises:
            LossIsNotFiniteError: before the weights are moved.
        """
        losses, tokens, tokens_with_padding = [], 0, 0
        for batch in batches:
            encoded, loss = self._forward(batch, self._dropout_seed(batch.step))
            if self._processes.any(not bool(torch.isfinite(loss.total))):
                raise LossIsNotFiniteError(batch, loss)
            self._optimisation.scaled(loss.total / len(batches)).backward()  # type: ignore[no-untyped-call]
            encoded.backward()
            losses.append(loss)
            tokens += encoded.tokens
            tokens_with_padding += encoded.tokens_with_padding
        rate, norm = self._optimisation.update(step, self._processes)
        return StepReport(
            loss=sum(float(loss.total.detach()) for loss in losses) / len(losses),
            pairwise=_mean([loss.pairwise for loss in losses]),
            in_batch=_mean([loss.in_batch for loss in losses]),
            learning_rate=rate,
            gradient_norm=norm,
            tokens=tokens,
            tokens_with_padding=tokens_with_padding,
        )

    def _dropout_seed(self, batch: int) -> int:
        """Of this batch in this process: a function of these, so that a resumed run needs no saved state."""
        sequence = np.random.SeedSequence([self._seed, batch, self._processes.rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(2))  # leaves room for the chunks' numbers


def _mean(values: Sequence[torch.Tensor | None]) -> float | None:
    present = [float(value.detach()) for value in values if value is not None]
    return sum(present) / len(present) if present else None


# --------
# Everything that watches a run: the log, the line on the screen, TensorBoard.


class Journal:
    """Of one run, from `done` steps on; what an earlier process wrote of later steps is dropped.

    Args:
        config: where the run is, and how often it logs.
        done: steps that the checkpoint has.
    """

    def __init__(self, config: RunConfig, done: int) -> None:
        self._config = config
        path = config.output / METRICS
        truncate_to(path, done)
        self._closing = ExitStack()
        self._log = self._closing.enter_context(MetricsLog(path))
        self._progress = self._closing.enter_context(Progress(done=done, total=config.max_steps))
        self._tensorboard = TensorBoard(config.output / TENSORBOARD, done=done)
        self._closing.enter_context(closing(self._tensorboard))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def step(self, done: int, report: StepReport, seconds: float) -> None:
        """After each step; `seconds` since the run began, other sessions included."""
        config = self._config
        losses = {"loss": report.loss, "pairwise": report.pairwise, "in_batch": report.in_batch}
        pairs = config.batch_size * config.accumulate
        self._progress.step(
            done, losses, pairs=pairs, tokens=report.tokens, tokens_with_padding=report.tokens_with_padding
        )
        if done % config.log_every and done != config.max_steps:
            return
        values: dict[str, Any] = asdict(report) | {
            "pairs_per_second": self._progress.pairs_per_second,
            "seconds": round(seconds, 3),
        }
        self._log.append("step", done, values)
        self._tensorboard.append(done, values)

    def evaluated(self, done: int, measure: str, value: float, *, best: bool, seconds: float) -> None:
        """After each evaluation."""
        self._log.append("evaluation", done, {"measure": measure, "value": value, "best": best, "seconds": seconds})
        self._tensorboard.append(done, {measure: value})
        self._progress.evaluated(done, measure, value, best=best)

    def pause(self) -> AbstractContextManager[None]:
        """While something else than training goes on."""
        return self._progress.pause()

    def say(self, text: str) -> None:
        """A line on the screen."""
        self._progress.say(text)

    def sync(self) -> None:
        """Before a checkpoint is written."""
        self._log.sync()


class SilentJournal(Journal):
    """Of the processes that write nothing."""

    def __init__(self) -> None:
        self._closing = ExitStack()

    def step(self, done: int, report: StepReport, seconds: float) -> None: ...

    def evaluated(self, done: int, measure: str, value: float, *, best: bool, seconds: float) -> None: ...

    def pause(self) -> AbstractContextManager[None]:
        return nullcontext()

    def say(self, text: str) -> None: ...

    def sync(self) -> None: ...
