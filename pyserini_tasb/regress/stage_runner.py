"""Stages run, each at most once however many conditions need it."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.steps import Pipeline, StepFailedError
from pyserini_tasb.regress.environment import command_environment
from pyserini_tasb.regress.pyserini_cache import lay_out_topics, topics_environment
from pyserini_tasb.regress.stage_inputs import inputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.regress.condition import Condition, ConditionStage

HOME = "home"
SECONDS_FOR_CTRL_C = 1


@dataclasses.dataclass(frozen=True)
class StageOutcome:
    """How a stage ended.

    Args:
        name: of the step.
        stage: index, search, fuse, rerank or evaluate.
        command: program and arguments, `python` being the interpreter that ran this.
        seconds: wall time of the run that made what is there; None where it failed.
        reused: it had finished in an earlier run, of which nothing has changed since.
        log: what the command printed, relative to the folder of outputs; None of `evaluate`, which is no process.
        failure: the end of that, where it failed.
    """

    name: str
    stage: str
    command: tuple[str, ...]
    seconds: float | None
    reused: bool
    log: str | None
    failure: str | None = None


class StageRunner:
    """Runs stages in one folder, for conditions in several threads.

    Args:
        folder: of the outputs: new, empty, or of an earlier run.
        versions: on which outputs depend.
        resume: leave alone what an earlier run finished, if its command, inputs and versions are the same.
        on_screen: show how far a command is.

    Raises:
        TasbError: the folder has other things in it, or cannot be made.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str], *, resume: bool, on_screen: bool) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self._resume, self._on_screen = resume, on_screen
        topics = topics_environment(folder / HOME)
        self._pipeline = Pipeline(folder, command_environment() | topics, versions)
        lay_out_topics(folder / HOME)  # only in a folder that the pipeline has taken for its own
        self._outcomes: dict[str, StageOutcome] = {}
        self._locks: dict[str, threading.Lock] = {}

    def run(self, stage: ConditionStage, condition: Condition) -> StageOutcome:
        """Run it, unless it has run or failed here already or is to be reused.

        Raises:
            KeyboardInterrupt: the runner's `stop` is set.
        """
        name = stage.step.name
        with self._locks.setdefault(name, threading.Lock()):
            if self.stop.is_set():
                raise KeyboardInterrupt
            if name not in self._outcomes:
                self._outcomes[name] = self._run(stage, condition)
            return self._outcomes[name]

    def _run(self, stage: ConditionStage, condition: Condition) -> StageOutcome:
        step = dataclasses.replace(stage.step, inputs=inputs_of(stage.step, condition, self.folder))
        outcome = StageOutcome(
            name=step.name,
            stage=stage.kind,
            command=("python", *step.arguments),
            seconds=None,
            reused=False,
            log=str(self._pipeline.log_of(step).relative_to(self.folder)),
        )
        took = self._pipeline.finished(step) if self._resume else None
        if took is not None:
            print(f"{condition.name}: {step.command}\n  done before, in {took:.1f} s", flush=True)
            return dataclasses.replace(outcome, seconds=took, reused=True)
        print(f"{condition.name}: {step.command}", flush=True)
        try:
            took = self._pipeline.execute(step, on_screen=self._on_screen, stop=self.stop)
        except StepFailedError as error:
            # Ctrl-C on a terminal reaches the command as well, which may end before the first thread has seen it.
            if self.stop.wait(SECONDS_FOR_CTRL_C):
                raise KeyboardInterrupt from error
            return dataclasses.replace(outcome, failure=str(error))
        print(f"{condition.name}: {stage.kind} done in {took:.1f} s", flush=True)
        return dataclasses.replace(outcome, seconds=took)
