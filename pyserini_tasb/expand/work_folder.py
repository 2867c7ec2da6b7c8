"""Where parts of an expansion gather until there are all of them: beside the folder that they become."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.expand.expanded_passages import require_new, shard_path
from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Anserini would take a JSON file in the folder of passages for one of them.
PASSAGES, ABOUT, PLAN = "passages", "about.json", "corpus.json"
_ADVICE = "check the folder, its permissions and the space on the disk"


class WorkFolder:
    """A folder of one expansion, which one process is at work in.

    Attributes:
        passages: folder of the finished parts.
        plan: file of the collection's plan.

    Args:
        folder: itself; it is there.
        output: what it becomes.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        self._folder, self._output = folder, output
        self.passages, self.plan = folder / PASSAGES, folder / PLAN
        with os_errors_explained(folder, expected="a folder that can be written to", do=_ADVICE):
            self.passages.mkdir(exist_ok=True)
            for path in (*folder.glob("*.part"), *self.passages.glob("*.part")):
                path.unlink()  # of a process that was killed while it wrote

    def require_about(self, about: Mapping[str, object]) -> None:
        """Say what the parts are of; refuse to go on with parts of something else.

        Args:
            about: all that decides what is written; values that JSON can hold.

        Raises:
            TasbError: naming what differs; nothing was changed.
        """
        path = self._folder / ABOUT
        known = read_sidecar(path)
        if not self.has_parts:
            write_whole(path, json.dumps(about, indent=1) + "\n")
            return
        differences = [name for name, value in about.items() if known.get(name) != value]
        if differences:
            raise TasbError(
                where=str(self._folder),
                expected="a new --output, or the command that was interrupted",
                found=f"passages with another {', '.join(differences)}",
                do="give the same command again, remove this folder, or choose another --output",
            )

    @property
    def has_parts(self) -> bool:
        """Whether there is something to go on from."""
        return self.passages.is_dir() and any(self.passages.iterdir())

    def missing(self, parts: int) -> list[int]:
        """Numbers of those that are not finished, of so many."""
        return [number for number in range(parts) if not shard_path(self.passages, number).is_file()]

    def publish(self) -> None:
        """Make of the parts, all of them finished, the output.

        Raises:
            TasbError: something has come there meanwhile, or the disk refuses.
        """
        require_new(self._output)
        with os_errors_explained(self._output, expected="a folder that can be written to", do=_ADVICE):
            self.passages.replace(self._output)


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """The work folder of an output, as an earlier try left it or new; without a finished part it is gone afterwards.

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    output = output.absolute()
    folder = output.with_name(f"{output.name}.work")
    with locked_folder(folder):
        work = WorkFolder(folder, output)
        try:
            yield work
        finally:
            if not work.has_parts:
                shutil.rmtree(folder, ignore_errors=True)
