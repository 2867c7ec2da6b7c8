"""Scores on disk while there are not all of them yet; a killed process loses at most one window."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.train.data.scoring.origin import differences
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.train.data.scoring.origin import Origin

SCORE = np.dtype("<f4")


class ScorePart:
    """`OUTPUT.part`, plain fp32 numbers, and `OUTPUT.part.json`: what they are of, and how many are there for certain.

    Goes on from what is there if that is of the same making.

    Args:
        output: the file that all of this is for. The caller keeps other processes out.
        origin: what the scores are made of.
        overwrite: begin anew where what is there is of another making.

    Attributes:
        count: how many scores are there.

    Raises:
        TasbError: what is there is of another making, or cannot be written to.
    """

    def __init__(self, output: Path, origin: Origin, *, overwrite: bool = False) -> None:
        self._part = output.with_name(f"{output.name}.part")
        self._sidecar = output.with_name(f"{output.name}.part.json")
        self._origin = origin
        self.count = 0
        if self._part.exists():
            self._take_up(read_sidecar(self._sidecar), overwrite=overwrite)
        # Before the part: scores of which nothing says what they are would be of no use.
        self._note()
        with self._errors_explained():
            self._part.touch()

    def append(self, scores: NDArray[np.float32]) -> None:
        """Add scores; they are on the disk afterwards.

        Raises:
            TasbError: the disk refuses.
        """
        with self._errors_explained(), self._part.open("r+b") as file:
            # Over what a killed process did not finish.
            file.seek(self.count * SCORE.itemsize)
            file.write(scores.astype(SCORE, copy=False).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.count += len(scores)
        self._note()

    def scores(self) -> NDArray[np.float32]:
        """[count] all scores."""
        with self._errors_explained():
            return np.fromfile(self._part, SCORE, self.count).astype(np.float32, copy=False)

    def remove(self) -> None:
        """Remove both files."""
        with self._errors_explained():
            self._part.unlink()
            self._sidecar.unlink()

    def _take_up(self, known: dict[str, Any], *, overwrite: bool) -> None:
        if known.get("origin", {}).keys() == self._origin.keys():
            now, then = differences(self._origin, known["origin"])
        else:
            now, then = [f"{self._sidecar.name} beside it"], ["nothing that says what these scores are of"]
        if not now:
            there = int(known["scores"])
            # Shorter only if something other than this class cut it.
            self.count = there if self._part.stat().st_size >= there * SCORE.itemsize else 0
        elif not overwrite:
            raise TasbError(
                where=str(self._part),
                expected="; ".join(now),
                found="; ".join(then),
                do="give what these scores were begun with to go on; or remove this file, or add --overwrite, to begin "
                "anew",
            )

    def _note(self) -> None:
        write_whole(self._sidecar, json.dumps({"scores": self.count, "origin": self._origin}, indent=1) + "\n")

    def _errors_explained(self) -> AbstractContextManager[None]:
        return os_errors_explained(
            self._part,
            expected="a file that can be written",
            do="check the folder, its permissions and the space on the disk; the same command goes on from here",
        )
