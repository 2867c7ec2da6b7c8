"""What would run, and what is missing, without running anything."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pyserini_tasb.regress.needs import needs_of, size_of
from pyserini_tasb.regress.pyserini_cache import unpacked
from pyserini_tasb.regress.verdicts import as_printed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.regress.condition import Condition
    from pyserini_tasb.regress.options import RunOptions


def listing(conditions: Sequence[Condition]) -> str:
    """A line each: name, where its values come from, description."""
    rows = [
        (condition.name, ", ".join(_sources(condition)), condition.regression.description) for condition in conditions
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def plan(condition: Condition, options: RunOptions, folder: Path) -> str:
    """Its commands, sizes, what is missing, and the values that it has to reach."""
    return "\n".join([f"{condition.name}: {condition.regression.description}", *_lines(condition, options, folder)])


def _lines(condition: Condition, options: RunOptions, folder: Path) -> Iterator[str]:
    about = condition.regression
    for archive in condition.prebuilt:
        here = "here" if unpacked(archive).is_dir() else "not here"
        records = f"{archive.records:,} records, " if archive.records else ""
        yield f"  {archive.kind} {archive.name}: {size_of(archive.bytes)}, {records}{here}"
    resources = about.resources
    others = [name for name, wanted in (("a GPU", resources.gpu), ("Java", resources.java)) if wanted]
    yield f"  resources: {', '.join([f'{resources.disk_gb:g} GB disk', f'{resources.memory_gb:g} GB memory', *others])}"
    for stage in options.stages_of(condition):
        yield f"  {stage.kind}: {stage.step.command}"
        if not options.allow_commands:
            yield from (f"  REFUSED without --allow-commands: {fault}" for fault in stage.refused)
    if options.evaluates:
        yield f"  evaluate: {shlex.join(condition.evaluation)}"
        if about.expected == "measure":
            yield "  expected: nothing published for these checkpoints and parameters; the first run is recorded"
        else:
            for block in about.expected:
                values = ", ".join(f"{measure} {as_printed(value, measure)}" for measure, value in block.values.items())
                within = f" ± {block.tolerance:g}" if block.tolerance else ""
                yield f"  expected: {values}{within} ({block.source.kind}: {block.source.reference})"
    for need in needs_of(condition, options, folder):
        yield f"  MISSING: {need}"


def _sources(condition: Condition) -> list[str]:
    expected = condition.regression.expected
    return ["measure"] if expected == "measure" else list(dict.fromkeys(block.source.kind for block in expected))
