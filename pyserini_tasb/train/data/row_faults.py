"""Faulty rows of a large file: named, up to a limit, or skipped and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import FAULTS_SHOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MEND_OR_SKIP = "mend or remove these lines, or add --skip-bad to leave them out"


class RowFaults:
    """What is wrong with the rows of a file. Reading stops at the chunk in which the limit is reached.

    Args:
        path: the file.
        expected: what a right row holds.
        skip: count faulty rows instead of refusing the file.
        advice: what to do about them.

    Attributes:
        count: faulty rows so far.
    """

    def __init__(self, path: Path, *, expected: str, skip: bool, advice: str = MEND_OR_SKIP) -> None:
        self.path, self._expected, self._skip, self._advice = path, expected, skip, advice
        self.count = 0
        self._kept: list[tuple[int, str]] = []

    @property
    def shown(self) -> list[str]:
        """The first 20 as `file:line: what is wrong`; without a line where there is none."""
        return [
            f"{self.path}:{line}: {found}" if line else f"{self.path}: {found}" for line, found in sorted(self._kept)
        ]

    def add(self, faults: Sequence[tuple[int, str]], count: int, *, up_to: int | None = None) -> None:
        """Note faults of the next rows.

        Args:
            faults: (line number from 1, or 0 if it has none; what is wrong): at least the first 20.
            count: how many there are.
            up_to: the last line looked at, if reading goes on.

        Raises:
            TasbError: the limit is reached.
        """
        self._kept += sorted(faults)[: FAULTS_SHOWN - len(self._kept)]
        self.count += count
        if up_to is not None and not self._skip and self.count >= FAULTS_SHOWN:
            raise self._error(f" up to line {up_to}, where reading stopped")

    def finish(self, *, rows: int) -> None:
        """Report what was added, once the whole file is read.

        Args:
            rows: how many lines the file had.

        Raises:
            TasbError: there was a fault, or no row at all.
        """
        if self.count and not self._skip:
            raise self._error("")
        if not rows:
            raise TasbError(
                where=str(self.path),
                expected=f"lines of {self._expected}",
                found="an empty file",
                do="check how it was written",
            )

    def _error(self, extent: str) -> TasbError:
        more = self.count - len(self._kept)
        lines = [*self.shown, f"… and {more} more"] if more else self.shown
        return TasbError(
            where=str(self.path),
            expected=f"lines of {self._expected}",
            found=f"{self.count} faulty line{'s' if self.count > 1 else ''}{extent}:\n    " + "\n    ".join(lines),
            do=self._advice,
        )
