"""What was measured here before: values that nobody has published, and under which versions all was well."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.recipes import user_folder
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def default_folder() -> Path:
    """In the user's home: outputs come and go."""
    return user_folder("regressions") / "recorded"


@dataclass(frozen=True)
class Record:
    """Of one regression, in a file of its own.

    Args:
        values: measure → value of the first run, where nobody has published one.
        date: of that run, YYYY-MM-DD.
        last_ok: versions under which its checks were last passed.
        last_ok_date: when.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    date: str | None = None
    last_ok: Mapping[str, str] = field(default_factory=dict)
    last_ok_date: str | None = None


class Recorded:
    """The records in a folder; damaged ones count as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, name: str) -> Path:
        """The file of the regression of that name."""
        return self.folder / f"{name}.json"

    def of(self, name: str) -> Record:
        """What is known of it; an empty record if nothing is."""
        known = read_sidecar(self.path_of(name))
        try:
            record = Record(**known)
            numbers = all(isinstance(value, float | int) for value in record.values.values())
        except (TypeError, AttributeError):
            return Record()
        return record if numbers else Record()

    def add_values(self, name: str, values: Mapping[str, float], date: str) -> None:
        """Keep values of measures that have none."""
        known = self.of(name)
        self._save(name, replace(known, values={**values, **known.values}, date=known.date or date))

    def passed(self, name: str, versions: Mapping[str, str], date: str) -> None:
        """Note that its checks were passed."""
        self._save(name, replace(self.of(name), last_ok=versions, last_ok_date=date))

    def _save(self, name: str, record: Record) -> None:
        with os_errors_explained(self.folder, expected="a folder to write to", do="choose another with --recorded"):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.path_of(name), json.dumps(asdict(record), indent=1) + "\n")
