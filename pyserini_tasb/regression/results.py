"""Results as files: the result of a condition, and the values that earlier runs measured."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.recipes.lookup import user_folder
from pyserini_tasb.recipes.types import Strict
from pyserini_tasb.regression.needs import Need
from pyserini_tasb.regression.stages import StageOutcome
from pyserini_tasb.regression.verdicts import Check, Recall, Verdict, as_printed, worst

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


RESULTS = "results"
UNVERSIONED = "-"


@dataclass(frozen=True)
class ConditionResult:
    """A condition's outcome; docs/regressions.md has every key.

    Args:
        name: the name of the regression.
        description: its.
        date: when it began, ISO 8601, UTC.
        topics: names of the topic set, its topics and qrels.
        versions: the versions that the numbers can depend on.
        machine: the machine on which it ran.
        run: the file or bundled name of the run.
        stages: each command with its time and log.
        checks: each expected and cited value.
        per_query: measure → qid → value.
        recall: recall at every cutoff, for plots.
        notes: notes on the run, such as judged queries that it lacks.
        needs: what was missing; nothing ran then.
        failure: why there are no numbers, where a command or the evaluation failed.
        moved: package → version of the last OK, version now; of a check that failed.
        last_ok: the date of that.
    """

    name: str
    description: str
    date: str
    topics: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    run: str
    stages: tuple[StageOutcome, ...] = ()
    checks: tuple[Check, ...] = ()
    per_query: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    recall: Recall | None = None
    notes: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    failure: str | None = None
    moved: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    last_ok: str | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The worst check's; None where only stages were asked for."""
        if self.failure is not None:
            return Verdict.FAIL
        if self.needs:
            return Verdict.MISSING
        verdicts = [check.verdict for check in self.checks if check.verdict is not None]
        return worst(verdicts) if verdicts else None

    def save(self, folder: Path) -> Path:
        """Write it to `folder`/results; return the file.

        Raises:
            TasbError: it cannot be written.
        """
        path = folder / RESULTS / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"verdict": self.verdict, **dataclasses.asdict(self)}
        write_whole(path, json.dumps(document, indent=1, default=_as_json) + "\n")
        return path


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no place in a result")


def as_text(result: ConditionResult) -> str:
    """A condition's checks, or why there are none."""
    return "\n".join([f"{result.verdict or 'done'}  {result.name}: {result.description}", *_lines(result)])


def counts(results: Sequence[ConditionResult]) -> str:
    """How many conditions got which verdict."""
    counted = Counter(str(result.verdict or "done") for result in results)
    return f"{len(results)} condition{'s' * (len(results) != 1)}: " + ", ".join(
        f"{number} {verdict}" for verdict, number in counted.items()
    )


def _lines(result: ConditionResult) -> Iterator[str]:
    if result.failure is not None:
        yield from (f"  {line}" for line in result.failure.splitlines())
    for need in result.needs:
        yield f"  needs {need}"
    width = max((len(check.measure) for check in result.checks), default=0)
    for check in result.checks:
        why = f": {check.reason}" if check.verdict is None and check.reason else ""
        yield f"  {check.verdict or 'cited':8}  {check.measure:{width}}  {check_values(check)}{why}"
    for note in result.notes:
        yield f"  note: {note}"
    if result.verdict in (Verdict.FAIL, Verdict.HIGHER) and result.last_ok:
        moves = [f"{name} {was or UNVERSIONED} → {now or UNVERSIONED}" for name, (was, now) in result.moved.items()]
        yield f"  since the last OK ({result.last_ok}): {', '.join(moves) or 'no version has changed'}"


def check_values(check: Check) -> str:
    """Measured, expected, difference and source, in a line."""
    measured = as_printed(check.measured, check.measure)
    if check.expected is None or check.difference is None or check.source is None:
        return f"{measured}, without a published value"
    expected, off = as_printed(check.expected, check.measure), as_printed(check.difference, check.measure, "+")
    within = f" ± {check.tolerance:g}" if check.tolerance else ""
    source = f"{check.source.kind}: {check.source.reference}" + (f", {check.source.date}" if check.source.date else "")
    return f"{measured}  expected {expected}{within}  {off}  ({source})"


def read_results(folder: Path) -> list[ConditionResult]:
    """Every condition's latest, sorted by name.

    Args:
        folder: the folder of the outputs, in which `results/` is.

    Raises:
        TasbError: there are none, or a file is damaged.
    """
    files = sorted((folder / RESULTS).glob("[!.]*.json"))
    if not files:
        raise TasbError(
            where=str(folder / RESULTS),
            expected="results of conditions (NAME.json)",
            found="none",
            do="run `tasb regress` first, or give the folder that was its --output",
        )
    adapter = TypeAdapter(ConditionResult)
    # `from __future__ import annotations` makes these names texts, which pydantic has to look up.
    names = {"Mapping": Mapping, "Check": Check, "Need": Need, "Recall": Recall, "StageOutcome": StageOutcome}
    adapter.rebuild(_types_namespace=names)
    return [_read(path, adapter) for path in files]


def _read(path: Path, adapter: TypeAdapter[ConditionResult]) -> ConditionResult:
    do = "run that condition again, or remove the file"
    with os_errors_explained(path, expected="a condition's result", do=do):
        text = path.read_bytes()
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        found = f"{where}: {fault['msg']}"
        raise TasbError(where=str(path), expected="a condition's result", found=found, do=do) from error


def default_folder() -> Path:
    """In the user's home: outputs come and go."""
    return user_folder("regressions") / "recorded"


class Record(Strict):
    """The record of one regression, in a file of its own.

    Args:
        values: measure → value of the first run, if no value is published.
        date: the details of that run.
        last_ok: versions under which its checks were last passed.
        last_ok_date: when.
    """

    values: dict[str, FiniteFloat] = Field(default_factory=dict)
    date: dt.date | None = None
    last_ok: dict[str, str] = Field(default_factory=dict)
    last_ok_date: dt.date | None = None


PAGE = "index.html"
REPORT = (PAGE, "report.md", "junit.xml")  # a report's files: a page, Markdown and JUnit XML


class Recorded:
    """The records in a folder; damaged ones count as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record_path(self, name: str) -> Path:
        """The file of the regression of that name."""
        return self.folder / f"{name}.json"

    def read(self, name: str) -> Record:
        """The record of a regression; an empty one if nothing is known."""
        try:
            return Record.model_validate(read_sidecar(self.record_path(name)))
        except ValidationError:
            return Record()

    def add_values(self, name: str, values: Mapping[str, float], date: dt.date) -> None:
        """Keep values of measures that have none."""
        known = self.read(name)
        self._save(name, known, values={**values, **known.values}, date=known.date or date)

    def passed(self, name: str, versions: Mapping[str, str], date: dt.date) -> None:
        """Note that its checks were passed."""
        self._save(name, self.read(name), last_ok=dict(versions), last_ok_date=date)

    def _save(self, name: str, known: Record, **news: Any) -> None:
        with os_errors_explained(
            self.folder, expected="a folder to write to", do=f"choose another with {argument('recorded')}"
        ):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.record_path(name), known.model_copy(update=news).model_dump_json(indent=1) + "\n")
