"""A study's outcome as a file that a report can be made of, without its models, runs and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import FiniteFloat, ValidationError

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.pipelines.study.comparison import measures_of
from pyserini_tasb.recipes.types import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.pipelines.study.comparison import Comparison, Key
    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

DOCUMENT = "study.json"


class MeasuredEntry(Strict):
    """One line of the table.

    Args:
        name: of a row beside the cells, or a cell's levels joined by `+`.
        label: of it, for readers.
        levels: a cell's; None of a row beside the cells.
        seeds: how many were measured.
        values: of each of the study's columns, a value for each seed; none where the model cannot rank the task.
        seconds_per_pair: of training, the median.
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
        letter: of the study.
        column: number of the column, from 0.
        name: of the entry.
        reference: name of the other.
        difference: mean over queries, entry less other.
        interval: its 95 % confidence interval.
        p_holm: of the paired t-test, corrected over all entries of the column with the letter.
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


def document_of(study: StudyConfig, entries: Sequence[Entry], comparisons: Mapping[Key, Comparison]) -> StudyDocument:
    """What was measured so far."""
    columns = measures_of(study)
    return StudyDocument(
        name=study.name,
        description=study.description,
        axes={axis: tuple(levels) for axis, levels in study.axes.items()},
        tasks={
            name: f"top {task.depth} of {task.run}, re-ranked" if task.run else f"{task.collection.name}, searched"
            for name, task in study.tasks.items()
        },
        columns=tuple(columns),
        letters={letter: study.meaning_of(letter) for letter in study.letters},
        entries=tuple(_measured(study, entry, columns) for entry in entries),
        differences=tuple(_difference(columns, key, comparison) for key, comparison in comparisons.items()),
    )


def read_document(folder: Path) -> StudyDocument:
    """What `tasb study` left in its folder.

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
