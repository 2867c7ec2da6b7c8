"""What is known of a condition once it has run, as a file that a report can be made of."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pyserini_tasb.regress.verdicts import Verdict, worst
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.regress.checks import Check
    from pyserini_tasb.regress.needs import Need
    from pyserini_tasb.regress.recall import Recall
    from pyserini_tasb.regress.stage_runner import StageOutcome

RESULTS = "results"


@dataclass(frozen=True)
class Result:
    """A condition's outcome; docs/regressions.md has every key.

    Args:
        name: of the regression.
        description: its.
        date: when it began, ISO 8601, UTC.
        topics: names of the topic set, its topics and qrels.
        versions: that the numbers can depend on.
        machine: on which it ran.
        run: the file or bundled name of the run.
        stages: each command with its time and log.
        checks: each expected and cited value.
        per_query: measure → qid → value.
        recall: at every cutoff, for plots.
        notes: on the run, such as judged queries that it lacks.
        needs: what was missing; nothing ran then.
        failure: why there are no numbers, where a command or the evaluation failed.
        moved: package → version of the last OK, version now; of a check that failed.
        last_ok: the date of that.
    """

    name: str
    description: str
    date: str
    topics: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    run: str
    stages: tuple[StageOutcome, ...] = ()
    checks: tuple[Check, ...] = ()
    per_query: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    recall: Recall | None = None
    notes: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    failure: str | None = None
    moved: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    last_ok: str | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The worst check's; None where only stages were asked for."""
        if self.failure is not None:
            return Verdict.FAIL
        if self.needs:
            return Verdict.MISSING
        verdicts = [check.verdict for check in self.checks if check.verdict is not None]
        return worst(verdicts) if verdicts else None

    def save(self, folder: Path) -> Path:
        """Write it to `folder`/results; return the file.

        Raises:
            TasbError: it cannot be written.
        """
        path = folder / RESULTS / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"verdict": self.verdict, **dataclasses.asdict(self)}
        write_whole(path, json.dumps(document, indent=1, default=_as_json) + "\n")
        return path


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no place in a result")
