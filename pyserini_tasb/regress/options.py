"""How conditions are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserini_tasb.regress.condition import Condition, ConditionStage

EVALUATE = "evaluate"


@dataclass(frozen=True)
class RunOptions:
    """What is asked for.

    Args:
        kind: of the stages that run, or `evaluate`; None for all of them.
        download: let Pyserini and the hub download what is missing.
        allow_commands: run also the commands that `foreign_commands` refuses.
    """

    kind: str | None = None
    download: bool = False
    allow_commands: bool = False

    @property
    def evaluates(self) -> bool:
        """Whether there will be numbers."""
        return self.kind in (None, EVALUATE)

    def stages_of(self, condition: Condition) -> tuple[ConditionStage, ...]:
        """Those that run."""
        return tuple(stage for stage in condition.stages if self.kind in (None, stage.kind))
