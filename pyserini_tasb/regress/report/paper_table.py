"""Tables of the paper, with what was measured here beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat, model_validator

from pyserini_tasb.recipes import load_recipe, own_folder
from pyserini_tasb.recipes.types import Recipe, Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.regress.result import Result

PAPER = "paper"


class PaperRow(Strict):
    """A system.

    Args:
        system: as the paper calls it.
        facts: a cell for each of the table's `facts`; none of them known, if empty.
        checkpoints: the models behind all of the row's values, by hub id, as in regressions.
        cited: topic set → the paper's values, by the table's measures; None where it has none.
        measured: what follows the topic set in names of conditions that measure the same; the first that has a value.
    """

    system: str
    facts: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    cited: dict[str, tuple[FiniteFloat | None, ...]] = Field(default_factory=dict)
    measured: tuple[str, ...] = ()


class PaperGroup(Strict):
    """Rows under one heading."""

    name: str
    rows: tuple[PaperRow, ...] = Field(min_length=1)


class PaperTable(Recipe):
    """A table.

    Args:
        source: where it is printed.
        facts: columns before the values.
        labels: what the paper calls the measures.
        measures: topic set → as many measures.
        groups: of rows.
    """

    source: str
    facts: tuple[str, ...]
    labels: tuple[str, ...]
    measures: dict[str, tuple[str, ...]]
    groups: tuple[PaperGroup, ...]

    @model_validator(mode="after")
    def _as_wide_as_its_head(self) -> PaperTable:
        for topics, measures in self.measures.items():
            if len(measures) != len(self.labels):
                raise ValueError(f"{topics}: a measure for each of `labels`")
        for row in (row for group in self.groups for row in group.rows):
            if len(row.facts) not in (0, len(self.facts)):
                raise ValueError(f"{row.system}: as many `facts` as the table has")
            for topics, values in row.cited.items():
                if topics not in self.measures or len(values) != len(self.labels):
                    raise ValueError(f"{row.system}, {topics}: a value for each measure of a topic set of the table")
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
    """Those that this package ships, by name."""
    return [load_recipe(path, PaperTable) for path in sorted((own_folder("regressions") / PAPER).glob("*.yaml"))]


def measured_values(table: PaperTable, row: PaperRow, results: Mapping[str, Result]) -> list[Measured | None]:
    """What was measured here for a row, in the order of the table's columns; None where nothing was.

    Args:
        table: that the row is of.
        row: of it.
        results: name of the condition → its result.
    """
    return [_measured(row, topics, measure, results) for topics, measure in table.columns]


def _measured(row: PaperRow, topics: str, measure: str, results: Mapping[str, Result]) -> Measured | None:
    for system in row.measured:
        result = results.get(f"{topics}.{system}")
        for check in result.checks if result else ():
            if check.measure == measure and result:
                return Measured(check.measured, result.name)
    return None
