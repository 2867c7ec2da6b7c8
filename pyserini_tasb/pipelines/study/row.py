"""What was measured of one model, in a file that says of what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.evaluate import write_run
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.evaluate import Run
    from pyserini_tasb.pipelines.study.task import Values

ROW, RUNS = "row.json", "runs"


@dataclass(frozen=True)
class Row:
    """One row of a study's table, of one seed.

    Args:
        values: task → measure → qid → value; without the tasks that the model cannot rank.
        about: what they depend on.
        seconds_per_pair: of training, the median; None for a model that was not trained here.
    """

    values: dict[str, Values]
    about: dict[str, Any]
    seconds_per_pair: float | None = None


def save(row: Row, runs: Mapping[str, Run], folder: Path, tag: str) -> None:
    """Write a row and its runs; the row comes last, so that where it is the rest is, too."""
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    for task, run in runs.items():
        write_run(folder / RUNS / f"{task}.txt", run, tag)
    write_whole(folder / ROW, json.dumps(asdict(row), indent=1))


def saved(folder: Path, about: dict[str, Any]) -> Row | None:
    """The row in a folder, if there is one and it is of this."""
    try:
        row = Row(**json.loads((folder / ROW).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return row if row.about == json.loads(json.dumps(about)) else None
