"""The content of all kinds of reports: sections by topic set, the paper's tables, comparisons query by query."""

from __future__ import annotations

import datetime as dt
import os
import statistics
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat, model_validator

from pyserini_tasb.commands import LINE_ENDS
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.significance import paired_tests
from pyserini_tasb.formats.named import bundled_files, canonical_name
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.lookup import own_folder
from pyserini_tasb.recipes.types import Recipe, Strict
from pyserini_tasb.regression.verdicts import Verdict, is_count, worst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluation.significance import PairedTest
    from pyserini_tasb.regression.results import ConditionResult
    from pyserini_tasb.regression.verdicts import Check
    from pyserini_tasb.training.study_report import Difference, MeasuredEntry, StudyDocument


@dataclass(frozen=True)
class Content:
    """The content of a report.

    Args:
        folder: the folder of the outputs, where logs are.
        sections: conditions by topic set.
        papers: tables of the paper; empty if no condition is in them.
        studies: measured by `tasb study`.
        date: the date of the report, UTC.
    """

    folder: Path
    sections: tuple[Section, ...]
    papers: tuple[PaperTable, ...]
    studies: tuple[StudyDocument, ...]
    date: str

    @property
    def title(self) -> str:
        """The report's subject."""
        return "Regressions" if self.sections else "Studies"

    @property
    def results(self) -> dict[str, ConditionResult]:
        """Name → result."""
        return {row.result.name: row.result for section in self.sections for row in section.rows}

    @property
    def verdicts(self) -> dict[str, int]:
        """How many conditions got which, the worst first."""
        counted = Counter(row.verdict for section in self.sections for row in section.rows)
        return {verdict: counted[verdict] for verdict in (*reversed(Verdict), DONE) if counted[verdict]}


def arranged_content(
    results: Sequence[ConditionResult],
    folder: Path,
    *,
    studies: Sequence[StudyDocument] = (),
    allowed: Sequence[str] = (),
) -> Content:
    """Results and studies, put in order.

    Args:
        results: the results of the conditions.
        folder: the folder of the conditions' outputs.
        studies: what `tasb study` left.
        allowed: patterns of names of conditions whose values may be higher.

    Raises:
        TasbError: a table of the paper is faulty.
    """
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    papers = tuple(paper_tables()) if results else ()
    return Content(folder, tuple(topic_sections(results, allowed)), papers, tuple(studies), now)


DONE = "done"  # where only stages were asked for


@dataclass(frozen=True)
class Row:
    """A condition.

    Args:
        result: the condition's result.
        cells: measure → the check that decides; of a measure that is only cited, the first citation.
        allowed: whether its values may be higher.
    """

    result: ConditionResult
    cells: Mapping[str, Check]
    allowed: bool

    @property
    def label(self) -> str:
        """Its name, without the topic set's."""
        return self.result.name.removeprefix(f"{self.result.topics['name']}.")

    @property
    def verdict(self) -> str:
        """In a word."""
        return str(self.result.verdict or DONE)

    @property
    def failed(self) -> bool:
        """True if it makes `tasb regress` fail."""
        verdict = self.result.verdict
        return verdict is Verdict.FAIL or (verdict is Verdict.HIGHER and not self.allowed)

    @property
    def seconds(self) -> float:
        """The seconds of all its commands, those of an earlier run included."""
        return sum(stage.seconds or 0 for stage in self.result.stages)


@dataclass(frozen=True)
class Section:
    """The conditions of a topic set.

    Args:
        topics: its name.
        measures: measure → label, of all that any condition has.
        rows: the sections, in the order of their names.
    """

    topics: str
    measures: Mapping[str, str]
    rows: tuple[Row, ...]


def topic_sections(results: Sequence[ConditionResult], allowed: Sequence[str]) -> list[Section]:
    """By topic set, in the order of their names.

    Args:
        results: the results of all conditions.
        allowed: patterns of names of conditions whose values may be higher.
    """
    by_topics: dict[str, list[ConditionResult]] = {}
    for result in sorted(results, key=lambda result: (result.topics["name"], result.name)):
        by_topics.setdefault(result.topics["name"], []).append(result)
    return [
        Section(
            topics,
            {check.measure: check.label for result in these for check in result.checks},
            tuple(_row(result, allowed) for result in these),
        )
        for topics, these in by_topics.items()
    ]


def _row(result: ConditionResult, allowed: Sequence[str]) -> Row:
    by_measure: dict[str, list[Check]] = {}
    for check in result.checks:
        by_measure.setdefault(check.measure, []).append(check)
    cells = {measure: _deciding(checks) for measure, checks in by_measure.items()}
    return Row(result, cells, any(fnmatchcase(result.name, pattern) for pattern in allowed))


def _deciding(checks: Sequence[Check]) -> Check:
    verdict = worst(check.verdict for check in checks if check.verdict is not None)
    return next((check for check in checks if check.verdict is verdict), checks[0])


PAPER = "paper"


class PaperRow(Strict):
    """A system of a table of the paper."""

    system: str
    """The system, as the paper calls it."""
    facts: tuple[str, ...] = ()
    """A cell for each of the table's `facts`, or none."""
    checkpoints: tuple[str, ...] = ()
    """The models behind all of the row's values, by hub id, as in regressions."""
    cited: dict[str, tuple[FiniteFloat | None, ...]] = Field(default_factory=dict)
    """The paper's values for each topic set, by the table's measures; `null` where it has none."""
    measured: tuple[str, ...] = ()
    """The part that follows the topic set in the names of conditions that measure the same. The first that has a value
    is shown."""


class PaperGroup(Strict):
    """Rows under one heading."""

    name: str
    """The heading."""
    rows: tuple[PaperRow, ...] = Field(min_length=1)
    """The rows."""


class PaperTable(Recipe):
    """A table of the paper."""

    source: str
    """Where the table is printed."""
    facts: tuple[str, ...]
    """Columns before the values, such as the latency."""
    labels: tuple[str, ...]
    """The names that the paper has for the measures."""
    measures: dict[str, tuple[str, ...]]
    """The measures of each topic set, as many for each."""
    groups: tuple[PaperGroup, ...]
    """The groups of rows."""

    @model_validator(mode="after")
    def _as_wide_as_its_head(self) -> PaperTable:
        for topics, measures in self.measures.items():
            if len(measures) != len(self.labels):
                raise ValueError(f"{topics} needs a measure for each of `labels`")
        for row in (row for group in self.groups for row in group.rows):
            if len(row.facts) not in (0, len(self.facts)):
                raise ValueError(f"{row.system} needs as many `facts` as the table has")
            for topics, values in row.cited.items():
                if topics not in self.measures or len(values) != len(self.labels):
                    raise ValueError(
                        f"{row.system}, {topics} needs a value for each measure of a topic set of the table"
                    )
        return self

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Topic set and measure of each value."""
        return tuple((topics, measure) for topics, measures in self.measures.items() for measure in measures)

    def cited(self, row: PaperRow) -> list[float | None]:
        """The paper's values of all columns."""
        nothing = (None,) * len(self.labels)
        return [value for topics in self.measures for value in row.cited.get(topics, nothing)]


@dataclass(frozen=True)
class Measured:
    """A value of a condition that ran here."""

    value: float
    condition: str


def paper_tables() -> list[PaperTable]:
    """The tables that this package ships, by name."""
    return [load_recipe(path, PaperTable) for path in sorted((own_folder("regressions") / PAPER).glob("*.yaml"))]


def measured_values(table: PaperTable, row: PaperRow, results: Mapping[str, ConditionResult]) -> list[Measured | None]:
    """The values measured here for a row, in the order of the table's columns; None where nothing was.

    Args:
        table: the condition of the row.
        row: the condition's row.
        results: name of the condition → its result.
    """
    return [_measured(row, topics, measure, results) for topics, measure in table.columns]


def _measured(row: PaperRow, topics: str, measure: str, results: Mapping[str, ConditionResult]) -> Measured | None:
    for system in row.measured:
        result = results.get(f"{topics}.{system}")
        for check in result.checks if result else ():
            if check.measure == measure and result:
                return Measured(check.measured, result.name)
    return None


@dataclass(frozen=True)
class StudyCell:
    """An entry in one column.

    Args:
        mean: the mean over seeds.
        deviation: the standard deviation over seeds; None with a single seed.
        better: the letters of the entries that it is significantly better than.
        worse: the letters of the entries that it is significantly worse than.
    """

    mean: float
    deviation: float | None
    better: str
    worse: str


@dataclass(frozen=True)
class StudyRow:
    """An entry, and a cell for each column; None where it has no value."""

    entry: MeasuredEntry
    cells: tuple[StudyCell | None, ...]


def study_rows(study: StudyDocument) -> list[StudyRow]:
    """The study's table."""
    found = {(each.name, each.column, each.letter): each for each in study.differences if each.significant}
    return [
        StudyRow(
            entry,
            tuple(
                _cell(values, [each for letter in study.letters if (each := found.get((entry.name, column, letter)))])
                for column, values in enumerate(entry.values)
            ),
        )
        for entry in study.entries
    ]


def study_differences(study: StudyDocument, letter: str) -> list[tuple[str, list[Difference | None]]]:
    """Each entry that was compared with what the letter stands for: its label, and a difference for each column."""
    found = {(each.name, each.column): each for each in study.differences if each.letter == letter}
    columns = range(len(study.columns))
    rows = [(entry.label, [found.get((entry.name, column)) for column in columns]) for entry in study.entries]
    return [(label, differences) for label, differences in rows if any(differences)]


def _cell(values: Sequence[float], significant: Sequence[Difference]) -> StudyCell | None:
    if not values:
        return None
    return StudyCell(
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        better="".join(each.letter for each in significant if each.difference > 0),
        worse="".join(each.letter for each in significant if each.difference < 0),
    )


Pair = tuple[int, int]


@dataclass(frozen=True)
class QueryComparison:
    """The values of queries that can be compared; conditions by their place in the section.

    Args:
        queries: all judged ones, sorted.
        texts: the queries' texts, empty where unknown.
        values: measure → condition → a value for each query.
        tests: measure → (condition, later one) → the one against the other; corrected for all pairs of a measure.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    values: Mapping[str, Mapping[int, tuple[float, ...]]]
    tests: Mapping[str, Mapping[Pair, PairedTest]]


def compare_queries(section: Section, folder: Path) -> QueryComparison | None:
    """Every pair of conditions that were judged on the same queries; None where there is no pair.

    Counts are left out: whether a run has significantly more lines than another is no question.

    Args:
        section: the folder with the conditions.
        folder: the folder of the outputs, where topics may be.
    """
    judged = {place: row.result for place, row in enumerate(section.rows) if row.result.per_query}
    if len(judged) < 2:
        return None
    first = next(iter(judged.values()))
    queries = sorted(next(iter(first.per_query.values())))
    values: dict[str, dict[int, tuple[float, ...]]] = {}
    for place, result in judged.items():
        for measure, by_query in result.per_query.items():
            if sorted(by_query) == queries and not is_count(measure):
                values.setdefault(measure, {})[place] = tuple(by_query[query] for query in queries)
    tests = {
        measure: paired_tests({pair: (of[pair[0]], of[pair[1]]) for pair in combinations(of, 2)})
        for measure, of in values.items()
        if len(of) > 1
    }
    known = _topics(first.topics["topics"], folder)
    return QueryComparison(tuple(queries), tuple(cut(known.get(query, "")) for query in queries), values, tests)


def _topics(name: str, folder: Path) -> dict[str, str]:
    """Texts of queries out of a file; Pyserini is not asked for any, which could start Java and a download."""
    places = (folder / name, Path(name), bundled_files("topics").get(canonical_name(name)))
    path = next((place for place in places if place and place.is_file()), None)
    try:
        return read_topics(path) if path else {}
    except TasbError:  # another format, such as TREC's; the queries go by their ids then
        return {}


LINES = 60
BYTES = 64 * 1024
CHARACTERS = 400  # of a line


def log_tail(folder: Path, name: str) -> str:
    """The last lines, long ones cut; empty if there is no such log, or it is outside the folder.

    Args:
        folder: the folder of the outputs.
        name: the name of the log, relative to it.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):  # a results file may come from anywhere
        return ""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - BYTES))
            text = file.read(BYTES)
    except OSError:
        return ""
    lines = [line.decode(errors="replace") for line in LINE_ENDS.split(text) if line.strip()]
    return "\n".join(cut(line) for line in lines[-LINES:])


def cut(line: str) -> str:
    """At most `CHARACTERS` of a line, and how many are not there."""
    left = len(line) - CHARACTERS
    return line if left <= 0 else f"{line[:CHARACTERS]} … ({left:,} more characters)"
