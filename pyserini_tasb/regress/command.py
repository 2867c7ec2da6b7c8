"""`tasb regress`: conditions run, and their numbers checked."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.pipelines.child import printable
from pyserini_tasb.regress.condition_run import ConditionRun
from pyserini_tasb.regress.dry_run import listing, plan
from pyserini_tasb.regress.environment import versions
from pyserini_tasb.regress.foreign_commands import require_allowed
from pyserini_tasb.regress.options import RunOptions
from pyserini_tasb.regress.recorded import Recorded, default_folder
from pyserini_tasb.regress.running import run_all
from pyserini_tasb.regress.selection import selected
from pyserini_tasb.regress.stage_runner import StageRunner
from pyserini_tasb.regress.summary import counts
from pyserini_tasb.regress.two_cr.writing import export
from pyserini_tasb.regress.verdicts import Verdict, exit_status

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.regress.condition import Condition
    from pyserini_tasb.regress.result import Result


def run(arguments: argparse.Namespace) -> int:
    """Do with the conditions named what is asked for: list, plan, export or run and judge them.

    Returns:
        0 where all checks passed, 1 where one failed, 2 where nothing failed and something could not run.

    Raises:
        TasbError: a name, option or file with a fault, a command that is not allowed, or a folder that cannot be used.
    """
    if arguments.jobs < 1:
        raise TasbError(expected="--jobs 1 or more", found=str(arguments.jobs), do="leave it out, or say how many")
    conditions = selected(arguments)
    options = RunOptions(arguments.stage, arguments.download, arguments.allow_commands)
    folder = Path(arguments.output)
    if arguments.list:
        print(printable(listing(conditions)))
    elif arguments.dry_run:
        print(printable("\n\n".join(plan(condition, options, folder) for condition in conditions)))
    elif arguments.export_2cr:
        export(conditions, Path(arguments.export_2cr))
    else:
        results = _run(arguments, conditions, options, folder)
        print(f"{counts(results)}; results in {folder / 'results'}")
        if arguments.report:
            print(f"report: {_report(arguments, results, folder)}")
        return exit_status(_unless_allowed(result, arguments.allow_higher) for result in results)
    return 0


def _run(
    arguments: argparse.Namespace, conditions: Sequence[Condition], options: RunOptions, folder: Path
) -> list[Result]:
    require_allowed(conditions, options)
    known = versions()
    recorded = Recorded(Path(arguments.recorded) if arguments.recorded else default_folder())
    # The pipeline takes a folder only if it is empty: looked at before the lock puts a file into it.
    runner = StageRunner(folder, known, resume=arguments.resume, on_screen=arguments.jobs == 1)
    with locked_folder(folder):
        try:
            return run_all(conditions, ConditionRun(runner, recorded, known, options), runner, arguments.jobs)
        except KeyboardInterrupt:
            print("\nThe same command with --resume goes on from where this stopped.", file=sys.stderr)
            raise


def _report(arguments: argparse.Namespace, results: Sequence[Result], folder: Path) -> Path:
    # Matplotlib and Jinja take a while to import.
    from pyserini_tasb.regress.report.content import content_of
    from pyserini_tasb.regress.report.writing import write_report

    return write_report(content_of(results, folder, allowed=arguments.allow_higher), Path(arguments.report))


def _unless_allowed(result: Result, allowed: Sequence[str]) -> Verdict:
    if result.verdict is Verdict.HIGHER and any(fnmatchcase(result.name, pattern) for pattern in allowed):
        return Verdict.OK
    return result.verdict or Verdict.OK
