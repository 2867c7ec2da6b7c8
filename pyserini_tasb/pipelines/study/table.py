"""A study as Markdown: the table of all rows, and the differences that its letters stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.layout import markdown_table
from pyserini_tasb.evaluate.significance import SIGNIFICANT
from pyserini_tasb.pipelines.study.comparison import measures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.pipelines.study.comparison import Comparison, Key
    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

NONE = "-"


def as_markdown(study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]) -> str:
    """Everything that was measured so far."""
    parts = [f"# {study.name}", study.description, _table(study, entries, comparisons), _legend(study, entries)]
    parts += [_differences(study, letter, entries, comparisons) for letter in study.letters]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]) -> str:
    columns = measures_of(study)
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
    """Those along which something changes; the first in any case."""
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
            entry.per_query(name, measure) for entry in entries for at, measure in measures_of(study) if at == name
        ]
        count = next((len(values) for values in queries if values is not None), 0)
        lines.append(f"{name}: {count} queries, {how}.")
    if any(len(entry.rows) > 1 for entry in entries):
        lines.append("Mean over seeds ± their standard deviation; tests are of each query's mean over seeds.")
    if study.letters:
        meant = ", ".join(f"{letter} {study.meaning_of(letter)}" for letter in study.letters)
        lines.append(
            f"Raised letters: better than {meant}; lowered: worse. Paired t-test, p < {SIGNIFICANT}, "
            "Holm-corrected over all rows of a column with the letter."
        )
    lines.append("ms a pair: of training, the median over steps; comparable only where nothing else ran.")
    return "\n".join(lines)


def _differences(
    study: StudyConfig, letter: str, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]
) -> str:
    columns = measures_of(study)
    lines = []
    for entry in entries:
        found = [comparisons.get((letter, task, measure, entry.name)) for task, measure in columns]
        if any(found):
            lines.append([entry.label(study), *(_difference(each) if each else NONE for each in found)])
    if not lines:
        return ""
    head = [f"minus {study.meaning_of(letter)}", *(f"{task} {measure}" for task, measure in columns)]
    note = "Difference of the means ± half of its 95 % confidence interval over queries; p after Holm."
    return f"## Against {letter}: {study.meaning_of(letter)}\n\n{markdown_table(head, lines)}\n\n{note}"


def _difference(each: Comparison) -> str:
    test = each.test
    low, high = test.interval
    p = "< .001" if test.p_holm < 0.001 else f"= {test.p_holm:.3f}".replace("0.", ".", 1)
    bold = "**" if test.significant else ""
    return f"{bold}{test.difference:+.4f}{bold} ± {(high - low) / 2:.4f} (p {p})"
