"""`regress`: run conditions and check their scores."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.outputs import require_folder, require_new_file
from pyserini_tasb.recipes.lookup import recipe_files
from pyserini_tasb.regression.condition import EVALUATE, RunOptions, each_stage_once, load_condition, require_allowed
from pyserini_tasb.regression.needs import listing, missing_needs, plan
from pyserini_tasb.regression.results import REPORT, ConditionResult, Recorded, as_text, counts, default_folder
from pyserini_tasb.regression.stages import StageOutcome, StageRunner, machine, moved, versions
from pyserini_tasb.regression.two_cr import export_conditions, pyserini_conditions
from pyserini_tasb.regression.verdicts import Verdict, judged_checks, measured_recall
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluation.measures import RunEvaluation
    from pyserini_tasb.regression.condition import Condition
    from pyserini_tasb.regression.verdicts import Recall
    from pyserini_tasb.results import StrPath

LOG = logging.getLogger(__name__)

PASSED = (Verdict.OK, Verdict.WITHIN, Verdict.RECORDED)
FAILED = (Verdict.HIGHER, Verdict.FAIL)


@dataclass(frozen=True)
class Regressions(FileResult):
    """The outcome of `regress`.

    Attributes:
        path: the folder of outputs, which `report` takes as `results`.
        verdicts: condition → verdict; None for a condition that was not evaluated. Empty if nothing ran.
        allow_higher: patterns of names of conditions in which values above the expected ones are accepted.
        broken: faulty file that the call did not name → its fault.
        page: the report; None if none was asked for.
        results: all details of each condition.
        summary: every check, in lines; or the text of `list`, `dry_run` or `export_2cr`.
    """

    verdicts: Mapping[str, Verdict | None] = field(default_factory=dict)
    allow_higher: tuple[str, ...] = ()
    broken: Mapping[str, TasbError] = field(default_factory=dict)
    page: Path | None = None
    results: tuple[ConditionResult, ...] = field(default=(), repr=False)
    summary: str = field(default="", repr=False)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of conditions that failed or whose values are higher without an explanation, and of broken files."""
        return (*(name for name, verdict in self.verdicts.items() if self._fails(name, verdict)), *self.broken)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the conditions that could not run, because something is not here."""
        return tuple(name for name, verdict in self.verdicts.items() if verdict is Verdict.MISSING)

    def _fails(self, name: str, verdict: Verdict | None) -> bool:
        explained = any(fnmatchcase(name, pattern) for pattern in self.allow_higher)
        return verdict is Verdict.FAIL or (verdict is Verdict.HIGHER and not explained)


def regress(
    names: str | Sequence[str] = (),
    *,
    all: bool = False,  # noqa: A002 - the option's name
    match: Sequence[str] = (),
    two_cr: Sequence[str] = (),
    list: bool = False,  # noqa: A002 - the option's name
    dry_run: bool = False,
    export_2cr: StrPath | None = None,
    stage: str | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    download: bool = False,
    allow_commands: bool = False,
    allow_higher: Sequence[str] = (),
    output: StrPath = "regress-out",
    report: StrPath | None = None,
    recorded: StrPath | None = None,
) -> Regressions:
    """Run conditions by name, and compare their values with the published or recorded ones.

    A condition is a search with all of its settings and published numbers (docs/regressions.md).

    Args:
        names: the names of regressions, such as `dl19-passage.tasb`, or the paths of their files (`….yaml`).
        all: select every regression.
        match: patterns of names to select, such as `dl19*`.
        two_cr: Pyserini's own conditions to select, such as `msmarco-v1-passage:distilbert-kd-tasb-pytorch`.
        list: list the conditions and run nothing. Without a selection, all are listed.
        dry_run: return the commands, their sizes and what is missing, and run nothing.
        export_2cr: a new file for the conditions that the format of Pyserini's two-click reproductions (2CR) can
            express; `-` is standard output. Nothing runs.
        stage: run only stages of this kind: index, search, fuse, rerank or evaluate.
        jobs: the number of conditions to run at the same time.
        overwrite: run every stage again; by default, stages that finished before with the same inputs, commands and
            versions are skipped. Also replace existing files at `export_2cr` and `report`.
        download: let Pyserini download missing files of any size.
        allow_commands: allow any command in regression files of others. Use it only if you trust their authors.
        allow_higher: patterns of names of conditions in which values above the expected ones are accepted.
        output: the folder of outputs: runs, logs and results.
        report: a folder for index.html, report.md and junit.xml of these conditions, new or of an earlier report.
        recorded: the folder with the values that earlier runs measured; by default a folder in your home.

    Returns:
        a verdict for each condition. A failed check is a verdict, and raises no error.

    Raises:
        TasbError: a name or argument is faulty, a command is not allowed, or a folder cannot be used. A faulty file
            raises an error if it was named, or if no other file is left.
        KeyboardInterrupt: the user stopped the call. Its commands have ended, and the same call continues.
    """
    if jobs < 1:
        raise TasbError(expected=f"{argument('jobs')} 1 or more", found=str(jobs), do="leave it out, or give a number")
    folder = Path(output)
    names = (names,) if isinstance(names, str) else names
    every = all or (list and not (names or match or two_cr))
    conditions, broken = selected(names, match=match, two_cr=two_cr, every=every)
    for name, fault in broken.items():
        LOG.warning("%s cannot be used\n%s", name, fault)
    options = RunOptions(stage, download, allow_commands)
    if list:
        return Regressions(folder, summary=listing(conditions))
    if dry_run:
        plans = (plan(condition, options, folder) for condition in conditions)
        return Regressions(folder, summary="\n\n".join(plans))
    if export_2cr:
        return Regressions(folder, summary=export_conditions(conditions, Path(export_2cr), overwrite=overwrite))
    if report:
        _require_report(Path(report), overwrite=overwrite)
    results = run_all(conditions, options, folder, jobs=jobs, overwrite=overwrite, recorded=recorded)
    page = _report(results, folder, allow_higher, Path(report)) if report else None
    return Regressions(
        folder,
        verdicts={result.name: result.verdict for result in results},
        allow_higher=tuple(allow_higher),
        broken=broken,
        page=page,
        results=tuple(results),
        summary="\n".join(
            [
                *(f"\n{as_text(result)}\n" for result in results),
                f"{counts(results)}; results in {folder / 'results'}",
                *([f"report: {page}"] if page else []),
            ]
        ),
    )


def selected(
    names: Sequence[str] = (), *, match: Sequence[str] = (), two_cr: Sequence[str] = (), every: bool = False
) -> tuple[list[Condition], dict[str, TasbError]]:
    """The conditions named, matched, or all; those of Pyserini's 2CR after them.

    Returns:
        The conditions, and the fault of each faulty file that the call did not name.

    Raises:
        TasbError: nothing named, a name twice, a pattern that nothing matches, one stage's name for two commands, or a
            name with a fault.
    """
    known = recipe_files("regressions")
    named = {*names}
    names = [*names, *(known if every else ())]
    for pattern in match:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            raise TasbError(
                expected="a pattern that some regression's name matches",
                found=f"{argument('match', pattern)}",
                do="see `tasb regress --list`",
            )
        names += matched
    conditions: list[Condition] = []
    broken: dict[str, TasbError] = {}
    for name in dict.fromkeys(names):
        try:
            conditions.append(load_condition(name))
        except TasbError as fault:
            if name in named:
                raise
            broken[name] = fault
    for name in two_cr:
        conditions += pyserini_conditions(name)
    counted = Counter(condition.name for condition in conditions)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise TasbError(
            expected="regressions with different names, because results are stored by name",
            found=f"{', '.join(twice)} more than once",
            do="name each once, or change `name` in one of the files",
        )
    each_stage_once(stage for condition in conditions for stage in condition.stages)
    if not conditions and broken:
        raise next(iter(broken.values()))
    if not conditions:
        raise TasbError(
            expected=f"names of regressions, {argument('all')}, {argument('match')} or {argument('two_cr')}",
            found="none of them",
            do="see `tasb regress --list`",
        )
    return conditions, broken


def run_all(
    conditions: Sequence[Condition],
    options: RunOptions,
    folder: Path,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    recorded: StrPath | None = None,
) -> list[ConditionResult]:
    """Run conditions, `jobs` at a time; the results stand in the order of the conditions.

    Raises:
        TasbError: a command that is not allowed, or a folder that cannot be used.
        KeyboardInterrupt: the commands that ran then have been ended.
    """
    require_allowed(conditions, options)
    if recorded:
        require_folder(Path(recorded), name="recorded")
    known = versions()
    # The pipeline takes a folder only if it is empty: looked at before the lock puts a file into it.
    runner = StageRunner(folder, known, overwrite=overwrite, on_screen=jobs == 1)
    condition_run = ConditionRun(runner, Recorded(Path(recorded) if recorded else default_folder()), known, options)

    def one(condition: Condition) -> ConditionResult:
        result = condition_run.run(condition)
        if len(conditions) > 1:  # one is about to be shown
            LOG.info("%s: %s", result.name, result.verdict or "done")
        return result

    # Threads: the work is done by processes that these wait for.
    with runner.alone(), ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            return [future.result() for future in [pool.submit(one, condition) for condition in conditions]]
        except BaseException as error:
            runner.stop.set()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                LOG.info("the same command continues where this one stopped")
            raise


class ConditionRun:
    """Runs conditions, from the first command to the verdict.

    Args:
        runner: the runner of their stages.
        recorded: what earlier runs gave.
        versions: the versions that numbers can depend on.
        options: how they are run.
    """

    def __init__(
        self, runner: StageRunner, recorded: Recorded, versions: Mapping[str, str], options: RunOptions
    ) -> None:
        self._runner, self._recorded, self._versions, self._options = runner, recorded, versions, options

    def run(self, condition: Condition) -> ConditionResult:
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
        needs = missing_needs(condition, self._options, self._runner.folder)
        if needs:
            return ConditionResult(**about, needs=tuple(needs))
        outcomes: list[StageOutcome] = []
        for stage in self._options.chosen_stages(condition):
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
            checks=tuple(judged_checks(condition, evaluation.overall, self._recorded.read(condition.recorded_as))),
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
        return evaluation, measured_recall(run, qrels, [known.measure for known in condition.topics.measures])

    def _with_history(self, result: ConditionResult, recorded_as: str) -> ConditionResult:
        """Record what is to be recorded; to a failure add which versions moved since the last OK."""
        record = self._recorded.read(recorded_as)
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


def _report(results: Sequence[ConditionResult], folder: Path, allowed: Sequence[str], output: Path) -> Path:
    # Matplotlib and Jinja take a while to import.
    from pyserini_tasb.regression.report import new_report
    from pyserini_tasb.regression.report_content import arranged_content

    with new_report(output, overwrite=True, name="report") as write:
        return write(arranged_content(results, folder, allowed=allowed))


def _require_report(output: Path, *, overwrite: bool) -> None:
    """Refuse a folder with some of a report's files: they are somebody else's, while all of them are an old report."""
    require_folder(output, name="report")
    if not all((output / name).is_file() for name in REPORT):
        for name in REPORT:
            require_new_file(output / name, overwrite=overwrite, name="report")
