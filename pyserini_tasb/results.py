"""The base of all results: small frozen dataclasses that print well in a terminal and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003 - dataclasses of other files inherit the field
from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.tables import html_table

if TYPE_CHECKING:
    import os

StrPath: TypeAlias = "str | os.PathLike[str]"
"""The path of a file or folder."""


@dataclass(frozen=True)
class Result:
    """The outcome of a verb. Fields with `repr=False` are left out where a result is shown."""

    def _repr_html_(self) -> str:
        shown = [[field.name, str(getattr(self, field.name))] for field in fields(self) if field.repr]
        return html_table([type(self).__name__, ""], shown)


@dataclass(frozen=True)
class FileResult(Result):
    """The outcome of a verb that leaves a file or a folder. It stands for its path wherever a path is taken.

    Attributes:
        path: the file or folder.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)
