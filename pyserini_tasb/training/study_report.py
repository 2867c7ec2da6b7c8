"""The report of a study: a table, comparisons by paired tests, and `study.json` for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import FiniteFloat, ValidationError

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.evaluation.significance import SIGNIFICANT, PairedTest, paired_tests
from pyserini_tasb.recipes.types import Strict
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.study_picture import draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.training.study_cells import Row
    from pyserini_tasb.training.study_config import StudyConfig


TABLE, PICTURE = "table.md", "study.png"


def write_report(study: StudyConfig, entries: Sequence[Entry]) -> None:
    """Write them, of what was measured so far."""
    comparisons = compare(study, entries)
    document = study_document(study, entries, comparisons)
    write_whole(study.output / TABLE, as_markdown(study, entries, comparisons))
    write_whole(study.output / DOCUMENT, document.model_dump_json(indent=1) + "\n")
    draw(document, study.output / PICTURE)


@dataclass
class Entry:
    """One line of the table.

    Args:
        name: the name of a row beside the cells, or a cell's levels joined by `+`.
        levels: a cell's; None of a row beside the cells.
        rows: one for each seed.
        elsewhere: the number of rows that another machine finished.
    """

    name: str
    levels: tuple[str, ...] | None
    rows: list[Row]
    elsewhere: int = 0

    def label(self, study: StudyConfig) -> str:
        """The name for readers."""
        return self.name if self.levels is None else study.label(self.levels)

    def per_query(self, task: str, measure: str) -> NDArray[np.float64] | None:
        """Values [queries], the mean over seeds, in the order of the query ids; None where there are none."""
        values = [row.values[task][measure] for row in self.rows if task in row.values]
        if not values:
            return None
        mean: NDArray[np.float64] = np.mean([[each[qid] for qid in sorted(each)] for each in values], axis=0)
        return mean

    def by_seed(self, task: str, measure: str) -> NDArray[np.float64]:
        """Values [seeds], the mean over queries."""
        values = [row.values[task][measure] for row in self.rows if task in row.values]
        return np.array([np.mean(list(by_query.values())) for by_query in values])

    @property
    def seconds_per_pair(self) -> float | None:
        """Seconds of training for each pair, the median over seeds."""
        seconds = [row.seconds_per_pair for row in self.rows if row.seconds_per_pair is not None]
        return float(np.median(seconds)) if seconds else None


Key = tuple[str, str, str, str]
"""letter, task, measure, name of the entry."""


@dataclass(frozen=True)
class Comparison:
    """An entry against another on one measure of one task.

    Args:
        reference: name of the other.
        test: a paired test over queries, whose values are means over seeds. Corrected over all tests of the same
            letter, task and measure.
    """

    reference: str
    test: PairedTest


def compare(study: StudyConfig, entries: Sequence[Entry]) -> dict[Key, Comparison]:
    """Every entry with what each letter stands for, where both are there and are not the same."""
    comparisons = {}
    for letter in study.letters:
        pairs = [(entry, reference) for entry in entries if (reference := _reference(study, letter, entry, entries))]
        for task, measure in study_columns(study):
            here = {}
            for entry, reference in pairs:
                values, others = entry.per_query(task, measure), reference.per_query(task, measure)
                if values is not None and others is not None:
                    here[entry.name, reference.name] = values, others
            for (name, other), test in paired_tests(here).items():
                comparisons[letter, task, measure, name] = Comparison(other, test)
    return comparisons


def study_columns(study: StudyConfig) -> list[tuple[str, str]]:
    """Task and measure of every column."""
    from pyserini_tasb.evaluation.measures import parse_measures

    return [(name, str(measure)) for name, task in study.tasks.items() for measure in parse_measures(task.measures)]


def _reference(study: StudyConfig, letter: str, entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    meant = study.letters[letter]
    if isinstance(meant, str):
        name = meant
    elif entry.levels is None:
        return None
    else:
        name = "+".join(meant.get(axis, level) for axis, level in zip(study.axes, entry.levels, strict=True))
    return next((other for other in entries if other.name == name and other is not entry), None)


DOCUMENT = "study.json"


class MeasuredEntry(Strict):
    """One line of the table.

    Args:
        name: the name of a row beside the cells, or a cell's levels joined by `+`.
        label: the row's label, for readers.
        levels: a cell's; None of a row beside the cells.
        seeds: how many were measured.
        values: the values of each of the study's columns, one for each seed; empty if the model cannot rank the task.
        seconds_per_pair: the median training time of a pair, in seconds.
    """

    name: str
    label: str
    levels: tuple[str, ...] | None
    seeds: int
    values: tuple[tuple[FiniteFloat, ...], ...]
    seconds_per_pair: FiniteFloat | None


class Difference(Strict):
    """An entry against what a letter stands for, in one column; None for what is infinite.

    Args:
        letter: the letter of the study.
        column: number of the column, from 0.
        name: the name of the entry.
        reference: name of the other.
        difference: mean over queries, entry less other.
        interval: its 95 % confidence interval.
        p_holm: the p-value of the paired t-test, with Holm's correction over all entries of the column with the letter.
        significant: p_holm < 0.05.
    """

    letter: str
    column: int
    name: str
    reference: str
    difference: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat] | None
    p_holm: FiniteFloat
    significant: bool


class StudyDocument(Strict):
    """Everything that `table.md` and `study.png` show.

    Args:
        axes: axis → its levels, in order.
        tasks: task → how its passages are ranked, for readers.
        columns: task and measure of each.
        letters: letter → what it stands for, for readers.
    """

    name: str
    description: str
    axes: dict[str, tuple[str, ...]]
    tasks: dict[str, str]
    columns: tuple[tuple[str, str], ...]
    letters: dict[str, str]
    entries: tuple[MeasuredEntry, ...]
    differences: tuple[Difference, ...]


def study_document(
    study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]
) -> StudyDocument:
    """The document of what was measured so far."""
    columns = study_columns(study)
    return StudyDocument(
        name=study.name,
        description=study.description,
        axes={axis: tuple(levels) for axis, levels in study.axes.items()},
        tasks={
            name: f"top {task.depth} of {task.run}, re-ranked" if task.run else f"{task.collection.name}, searched"
            for name, task in study.tasks.items()
        },
        columns=tuple(columns),
        letters={letter: study.meaning(letter) for letter in study.letters},
        entries=tuple(_measured(study, entry, columns) for entry in entries),
        differences=tuple(_difference(columns, key, comparison) for key, comparison in comparisons.items()),
    )


def read_document(folder: Path) -> StudyDocument:
    """The document that `tasb study` left in its folder.

    Raises:
        TasbError: there is no such file, or it is damaged.
    """
    path, do = folder / DOCUMENT, "give the `output` of a study; the same `tasb study` command again writes the file"
    with os_errors_explained(path, expected="a study's results", do=do):
        text = path.read_bytes()
    try:
        return StudyDocument.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise TasbError(
            where=str(path), expected="a study's results", found=f"{where}: {fault['msg']}", do=do
        ) from error


def _measured(study: StudyConfig, entry: Entry, columns: Sequence[tuple[str, str]]) -> MeasuredEntry:
    return MeasuredEntry(
        name=entry.name,
        label=entry.label(study),
        levels=entry.levels,
        seeds=len(entry.rows),
        values=tuple(tuple(entry.by_seed(task, measure).tolist()) for task, measure in columns),
        seconds_per_pair=entry.seconds_per_pair,
    )


def _difference(columns: Sequence[tuple[str, str]], key: Key, comparison: Comparison) -> Difference:
    letter, task, measure, name = key
    test = comparison.test
    return Difference(
        letter=letter,
        column=columns.index((task, measure)),
        name=name,
        reference=comparison.reference,
        difference=test.difference,
        interval=test.interval if test.n > 1 else None,
        p_holm=test.p_holm,
        significant=test.significant,
    )


NONE = "-"


def as_markdown(study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]) -> str:
    """Everything that was measured so far."""
    parts = [f"# {study.name}", study.description, _table(study, entries, comparisons), _legend(study, entries)]
    parts += [_differences(study, letter, entries, comparisons) for letter in study.letters]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]) -> str:
    columns = study_columns(study)
    axes = _axes_shown(study, entries)
    head = [*(list(study.axes)[axis] for axis in axes), "seeds"]
    head += [f"{task} {measure}" for task, measure in columns] + ["ms a pair"]
    lines = []
    for entry in entries:
        if entry.levels is None:
            line = [f"*{entry.name}*", *[""] * (len(axes) - 1), ""]
        else:
            line = [*(entry.levels[axis] for axis in axes), str(len(entry.rows))]
        line += [_value(study, entry, task, measure, comparisons) for task, measure in columns]
        seconds = entry.seconds_per_pair
        lines.append([*line, "" if seconds is None else f"{1000 * seconds:.0f}"])
    return markdown_table(head, lines)


def _axes_shown(study: StudyConfig, entries: Sequence[Entry]) -> list[int]:
    """The axes along which something changes, and always the first."""
    levels = [entry.levels for entry in entries if entry.levels is not None]
    return [axis for axis in range(len(study.axes)) if axis == 0 or len({each[axis] for each in levels}) > 1]


def _value(study: StudyConfig, entry: Entry, task: str, measure: str, comparisons: Mapping[Key, Comparison]) -> str:
    values = entry.by_seed(task, measure)
    if not len(values):
        return NONE
    text = f"{values.mean():.4f}"
    if len(values) > 1:
        text += f" ± {values.std(ddof=1):.4f}"
    found = {letter: comparisons.get((letter, task, measure, entry.name)) for letter in study.letters}
    significant = {letter: each.test.difference > 0 for letter, each in found.items() if each and each.test.significant}
    better = "".join(letter for letter, is_better in significant.items() if is_better)
    worse = "".join(letter for letter, is_better in significant.items() if not is_better)
    return text + (f"<sup>{better}</sup>" if better else "") + (f"<sub>{worse}</sub>" if worse else "")


def _legend(study: StudyConfig, entries: Sequence[Entry]) -> str:
    lines = []
    for name, task in study.tasks.items():
        how = f"the top {task.depth} of {task.run}, re-ranked" if task.run else f"{task.collection.name}, searched"
        queries = [
            entry.per_query(name, measure) for entry in entries for at, measure in study_columns(study) if at == name
        ]
        count = next((len(values) for values in queries if values is not None), 0)
        lines.append(f"{name}: {count} queries, {how}.")
    if any(len(entry.rows) > 1 for entry in entries):
        lines.append("Mean over seeds ± their standard deviation; tests are of each query's mean over seeds.")
    if study.letters:
        meant = ", ".join(f"{letter} {study.meaning(letter)}" for letter in study.letters)
        lines.append(
            f"Raised letters: better than {meant}; lowered: worse. Paired t-test, p < {SIGNIFICANT}, "
            "Holm-corrected over all rows of a column with the letter."
        )
    if elsewhere := sum(entry.elsewhere for entry in entries):
        rows = sum(len(entry.rows) for entry in entries)
        lines.append(
            f"{elsewhere} of {rows} rows were finished on another machine, on data that the same commands made there."
        )
    lines.append(
        "ms a pair: the time of training, the median over steps. It is comparable only if nothing else ran meanwhile."
    )
    return "\n".join(lines)


def _differences(
    study: StudyConfig, letter: str, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]
) -> str:
    columns = study_columns(study)
    lines = []
    for entry in entries:
        found = [comparisons.get((letter, task, measure, entry.name)) for task, measure in columns]
        if any(found):
            lines.append([entry.label(study), *(_difference_cell(each) if each else NONE for each in found)])
    if not lines:
        return ""
    head = [f"minus {study.meaning(letter)}", *(f"{task} {measure}" for task, measure in columns)]
    note = "Difference of the means ± half of its 95 % confidence interval over queries; p after Holm."
    return f"## Against {letter}: {study.meaning(letter)}\n\n{markdown_table(head, lines)}\n\n{note}"


def _difference_cell(each: Comparison) -> str:
    test = each.test
    low, high = test.interval
    p = "< .001" if test.p_holm < 0.001 else f"= {test.p_holm:.3f}".replace("0.", ".", 1)
    bold = "**" if test.significant else ""
    return f"{bold}{test.difference:+.4f}{bold} ± {(high - low) / 2:.4f} (p {p})"
