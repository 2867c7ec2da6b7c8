"""Results as `tasb regress` left them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.regress.checks import Check
from pyserini_tasb.regress.needs import Need
from pyserini_tasb.regress.recall import Recall
from pyserini_tasb.regress.result import RESULTS, Result
from pyserini_tasb.regress.stage_runner import StageOutcome

if TYPE_CHECKING:
    from pathlib import Path


def read_results(folder: Path) -> list[Result]:
    """Every condition's latest, sorted by name.

    Args:
        folder: of the outputs, in which `results/` is.

    Raises:
        TasbError: there are none, or a file is damaged.
    """
    files = sorted((folder / RESULTS).glob("*.json"))
    if not files:
        raise TasbError(
            where=str(folder / RESULTS),
            expected="results of conditions (NAME.json)",
            found="none",
            do="run `tasb regress` first, or give the folder that was its --output",
        )
    adapter = TypeAdapter(Result)
    # What result.py imports for annotations alone.
    names = {"Mapping": Mapping, "Check": Check, "Need": Need, "Recall": Recall, "StageOutcome": StageOutcome}
    adapter.rebuild(_types_namespace=names)
    return [_read(path, adapter) for path in files]


def _read(path: Path, adapter: TypeAdapter[Result]) -> Result:
    do = "run that condition again, or remove the file"
    with os_errors_explained(path, expected="a condition's result", do=do):
        text = path.read_bytes()
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        found = f"{where}: {fault['msg']}"
        raise TasbError(where=str(path), expected="a condition's result", found=found, do=do) from error
