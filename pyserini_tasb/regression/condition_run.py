"""One condition, from its first command to its verdict."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.regression.condition import EVALUATE
from pyserini_tasb.regression.needs import needs_of
from pyserini_tasb.regression.results import ConditionResult
from pyserini_tasb.regression.stages import StageOutcome, machine, moved
from pyserini_tasb.regression.verdicts import Verdict, checks_of, recall_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.evaluation.measures import RunEvaluation
    from pyserini_tasb.regression.condition import Condition, RunOptions
    from pyserini_tasb.regression.results import Recorded
    from pyserini_tasb.regression.stages import StageRunner
    from pyserini_tasb.regression.verdicts import Recall


PASSED = (Verdict.OK, Verdict.WITHIN, Verdict.RECORDED)
FAILED = (Verdict.HIGHER, Verdict.FAIL)


class ConditionRun:
    """What all conditions of a command share.

    Args:
        runner: of their stages.
        recorded: what earlier runs gave.
        versions: of what numbers can depend on.
        options: how they are run.
    """

    def __init__(
        self, runner: StageRunner, recorded: Recorded, versions: Mapping[str, str], options: RunOptions
    ) -> None:
        self._runner, self._recorded, self._versions, self._options = runner, recorded, versions, options

    def of(self, condition: Condition) -> ConditionResult:
        """Run what is to be run of it, judge and save.

        Raises:
            KeyboardInterrupt: the runner was stopped.
            TasbError: the result, or what is recorded of it, cannot be written.
        """
        result = self._with_history(self._result(condition), condition.recorded_as)
        result.save(self._runner.folder)
        return result

    def _result(self, condition: Condition) -> ConditionResult:
        about = self._about(condition)
        needs = needs_of(condition, self._options, self._runner.folder)
        if needs:
            return ConditionResult(**about, needs=tuple(needs))
        outcomes: list[StageOutcome] = []
        for stage in self._options.stages_of(condition):
            outcome = self._runner.run(stage, condition)
            outcomes.append(outcome)
            if outcome.failure is not None:
                return ConditionResult(**about, stages=tuple(outcomes), failure=outcome.failure)
        if not self._options.evaluates:
            return ConditionResult(**about, stages=tuple(outcomes))
        return self._judged(condition, about, outcomes)

    def _about(self, condition: Condition) -> dict[str, Any]:
        topics = condition.topics
        return {
            "name": condition.name,
            "description": condition.regression.description,
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "topics": {"name": topics.name, "topics": topics.topics, "qrels": topics.qrels},
            "versions": self._versions,
            "machine": machine(),
            "run": condition.regression.run,
        }

    def _judged(self, condition: Condition, about: dict[str, Any], outcomes: list[StageOutcome]) -> ConditionResult:
        began = time.monotonic()
        try:
            evaluation, recall = self._evaluation(condition)
        except TasbError as error:
            return ConditionResult(**about, stages=tuple(outcomes), failure=str(error))
        evaluated = StageOutcome(
            name=f"{condition.name}.{EVALUATE}",
            stage=EVALUATE,
            command=condition.evaluation,
            seconds=time.monotonic() - began,
            reused=False,
            log=None,
        )
        return ConditionResult(
            **about,
            stages=(*outcomes, evaluated),
            checks=tuple(checks_of(condition, evaluation.overall, self._recorded.of(condition.recorded_as))),
            per_query={
                measure: dict(zip(evaluation.queries, values.tolist(), strict=True))
                for measure, values in evaluation.per_query.items()
            },
            recall=recall,
            notes=tuple(_notes(evaluation)),
        )

    def _evaluation(self, condition: Condition) -> tuple[RunEvaluation, Recall]:
        path = _in_folder(self._runner.folder, condition.regression.run)
        run = load_run(path, remove_query=condition.regression.remove_query)
        qrels = load_qrels(_in_folder(self._runner.folder, condition.topics.qrels))
        evaluation = evaluate_run(run, qrels, condition.measures, name=condition.regression.run)
        return evaluation, recall_of(run, qrels, [known.measure for known in condition.topics.measures])

    def _with_history(self, result: ConditionResult, recorded_as: str) -> ConditionResult:
        """Record what is to be recorded; to a failure add which versions moved since the last OK."""
        record = self._recorded.of(recorded_as)
        if result.verdict in PASSED:
            today = dt.date.fromisoformat(result.date[:10])
            first = {check.measure: check.measured for check in result.checks if check.verdict is Verdict.RECORDED}
            if first:
                self._recorded.add_values(recorded_as, first, today)
            self._recorded.passed(recorded_as, self._versions, today)
        elif result.verdict in FAILED and record.last_ok_date:
            changed = moved(record.last_ok, self._versions)
            return dataclasses.replace(result, moved=changed, last_ok=record.last_ok_date.isoformat())
        return result


def _in_folder(folder: Path, name: str) -> str | Path:
    """A file among the outputs, or else a name or path of any other."""
    path = folder / name
    return path if path.is_file() else name


def _notes(evaluation: RunEvaluation) -> list[str]:
    missing, shown = evaluation.missing, 5
    if not missing:
        return []
    some = ", ".join(missing[:shown]) + (", …" if len(missing) > shown else "")
    return [f"the run lacks {len(missing)} of {len(evaluation.queries)} judged queries, which count as 0: {some}"]
