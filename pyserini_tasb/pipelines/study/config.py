"""The configuration of `tasb study`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Recipe, Strict

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = r"^[a-z0-9][a-z0-9.-]*$"
NAME = r"^[A-Za-z0-9][\w .+-]*$"  # of a row, and of its folder
ALWAYS_SHOWN = 2  # axes, in the label of a cell
Settings = dict[str, Any]
"""Keys of a training configuration, `key` or `section.key`, and their values."""


class Selection(Strict):
    """Cells that are trained: every combination of these levels with every seed."""

    levels: dict[str, list[str]] = Field(default={})  # axis → levels; an axis that is not here has its first level
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class Task(Strict):
    """Queries with judgments, for which passages are ranked: those of a run, or a whole collection."""

    topics: str
    qrels: str
    collection: Path
    run: str | None = None  # to be re-ranked; None: the collection is searched exhaustively
    depth: int = Field(default=100, ge=1)
    remove_query: bool = False  # drop the document whose docid is the query's id
    measures: list[str] = Field(default=["nDCG@10"], min_length=1)


class OtherRow(Strict):
    """A row beside the cells: a model that is not trained here, or runs as they are."""

    model: str | None = None
    runs: dict[str, str] = Field(default={})  # task → run

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.model is None) != bool(self.runs):
            raise ValueError("give `model`, or `runs` (task: run)")
        return self


class StudyConfig(Recipe):
    """A study. Paths: from the working directory."""

    output: Path
    train: dict[str, Any]  # a training configuration but for name, output and seed
    axes: Annotated[
        dict[str, Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Settings], Field(min_length=1)]],
        Field(min_length=1),
    ]
    cells: Annotated[list[Selection], Field(min_length=1)]
    tasks: Annotated[dict[Annotated[str, Field(pattern=LEVEL)], Task], Field(min_length=1)]
    rows: dict[Annotated[str, Field(pattern=NAME)], OtherRow] = Field(default={})
    # letter → what a row is compared with: a row, or the cell that differs in the levels given
    letters: dict[Annotated[str, Field(pattern=r"^[a-z]$")], str | dict[str, str]] = Field(default={})
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str | None = None

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for number, selection in enumerate(self.cells, 1):
            for axis, levels in selection.levels.items():
                self._require_levels(f"cells, entry {number}", axis, levels)
        for name, row in self.rows.items():
            _require(f"rows.{name}", row.runs, self.tasks)
        for letter, reference in self.letters.items():
            if isinstance(reference, str):
                _require(f"letters.{letter}", [reference], self.rows)
            else:
                for axis, level in reference.items():
                    self._require_levels(f"letters.{letter}", axis, [level])
        return self

    def meaning_of(self, letter: str) -> str:
        """What rows are compared with, for readers."""
        meant = self.letters[letter]
        if isinstance(meant, str):
            return meant
        if set(meant) == set(self.axes):
            return self.label_of([meant[axis] for axis in self.axes])
        return " and ".join(f"{axis} {level}" for axis, level in meant.items())

    def label_of(self, cell: Sequence[str]) -> str:
        """A cell for readers: of the third and further axes, only levels that are not the first."""
        first = [next(iter(levels)) for levels in self.axes.values()]
        return " · ".join(level for axis, level in enumerate(cell) if axis < ALWAYS_SHOWN or level != first[axis])

    def _require_levels(self, where: str, axis: str, levels: list[str]) -> None:
        _require(where, [axis], self.axes)
        _require(f"{where}, {axis}", levels, self.axes[axis])


def _require(where: str, names: Any, known: dict[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{where}: no `{unknown[0]}` among {', '.join(known) or 'none'}")
