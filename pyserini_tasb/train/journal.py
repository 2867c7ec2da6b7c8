"""Everything that watches a run: the log, the line on the screen, TensorBoard."""

from __future__ import annotations

from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pyserini_tasb.train.report.metrics_log import MetricsLog, truncate_to
from pyserini_tasb.train.report.progress import Progress
from pyserini_tasb.train.report.tensorboard import TensorBoard
from pyserini_tasb.train.run_folder import METRICS, TENSORBOARD

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pyserini_tasb.train.run_config import RunConfig
    from pyserini_tasb.train.step import StepReport


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
