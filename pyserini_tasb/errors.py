"""The one exception a user of this package is meant to read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TasbError(Exception):
    """A mistake its reader can mend: what was expected, what was found, what to do.

    Commands print it without a traceback and exit with status 2 (`tasb`) or 1 (stock Pyserini commands).

    Args:
        expected: what would have been right.
        found: what stood there instead.
        do: the next step, as something to type or change.
        where: the file, or `file:line`, it was found in.
    """

    def __init__(self, *, expected: str, found: str, do: str, where: str | None = None) -> None:
        self.expected, self.found, self.do, self.where = expected, found, do, where
        lines = [where] if where else []
        lines += [f"  expected: {expected}", f"  found:    {found}", f"  do this:  {do}"]
        super().__init__("\n".join(lines))


@contextlib.contextmanager
def os_errors_explained(where: Path, *, expected: str, do: str) -> Iterator[None]:
    """What the operating system refuses in the block, as a TasbError."""
    try:
        yield
    except OSError as error:
        raise TasbError(where=str(where), expected=expected, found=error.strerror or str(error), do=do) from error
