"""What was measured here before: values that nobody has published, and under which versions all was well."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pydantic import Field, FiniteFloat, ValidationError

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.recipes import user_folder
from pyserini_tasb.recipes.types import Strict
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def default_folder() -> Path:
    """In the user's home: outputs come and go."""
    return user_folder("regressions") / "recorded"


class Record(Strict):
    """Of one regression, in a file of its own.

    Args:
        values: measure → value of the first run, where nobody has published one.
        date: of that run.
        last_ok: versions under which its checks were last passed.
        last_ok_date: when.
    """

    values: dict[str, FiniteFloat] = Field(default_factory=dict)
    date: dt.date | None = None
    last_ok: dict[str, str] = Field(default_factory=dict)
    last_ok_date: dt.date | None = None


class Recorded:
    """The records in a folder; damaged ones count as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, name: str) -> Path:
        """The file of the regression of that name."""
        return self.folder / f"{name}.json"

    def of(self, name: str) -> Record:
        """What is known of it; an empty record if nothing is."""
        try:
            return Record.model_validate(read_sidecar(self.path_of(name)))
        except ValidationError:
            return Record()

    def add_values(self, name: str, values: Mapping[str, float], date: dt.date) -> None:
        """Keep values of measures that have none."""
        known = self.of(name)
        self._save(name, known, values={**values, **known.values}, date=known.date or date)

    def passed(self, name: str, versions: Mapping[str, str], date: dt.date) -> None:
        """Note that its checks were passed."""
        self._save(name, self.of(name), last_ok=dict(versions), last_ok_date=date)

    def _save(self, name: str, known: Record, **news: Any) -> None:
        with os_errors_explained(self.folder, expected="a folder to write to", do="choose another with --recorded"):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.path_of(name), known.model_copy(update=news).model_dump_json(indent=1) + "\n")
