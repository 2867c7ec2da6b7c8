"""What a stage reads: all that its command names and this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.resolver import run_file
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.recipes import encoder_card, recipe_files
from pyserini_tasb.regress.pyserini_cache import unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.pipelines.steps import Step
    from pyserini_tasb.regress.condition import Condition


def inputs_of(step: Step, condition: Condition, folder: Path) -> tuple[str, ...]:
    """Paths, relative to `folder` or absolute, on whose content it depends what the step makes.

    Paths that the command names, its outputs apart; bundled runs, pre-built archives, encoders' weights and fusion
    recipes that it names.
    """
    known: dict[str, Path] = {archive.name: unpacked(archive) for archive in condition.prebuilt}
    known |= {run: path for run in condition.runs if (path := _bundled_run(run))}
    known |= recipe_files("fusion")
    for model in condition.models:
        try:
            known[model.encoder] = find_checkpoint(encoder_card(model.encoder).model, allow_bin=True, download=False)
        except TasbError:  # its command will get it, or say why not
            continue
    found = []
    for argument in step.arguments[2:]:  # after `-m` and the module
        if argument in step.outputs:
            continue
        if argument in known:
            found.append(str(known[argument]))
        elif (folder / argument).exists():
            found.append(argument)
    return tuple(dict.fromkeys(found))


def _bundled_run(run: str) -> Path | None:
    try:
        return run_file(run)
    except TasbError:  # a file that an earlier stage makes
        return None
