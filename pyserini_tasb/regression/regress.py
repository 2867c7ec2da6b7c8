"""`tasb regress`: conditions run, and their numbers checked."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import locked_folder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.lookup import recipe_files
from pyserini_tasb.regression.condition import each_stage_once, load_condition, require_allowed
from pyserini_tasb.regression.condition_run import ConditionRun, RunOptions
from pyserini_tasb.regression.needs import listing, plan
from pyserini_tasb.regression.results import Recorded, default_folder
from pyserini_tasb.regression.stages import StageRunner, versions
from pyserini_tasb.regression.two_cr import conditions_of
from pyserini_tasb.regression.two_cr_export import export
from pyserini_tasb.regression.verdicts import Verdict, as_text, counts, exit_status
from pyserini_tasb.workers import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.regression.condition import Condition
    from pyserini_tasb.regression.results import Result


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
    from pyserini_tasb.regression.report import write_report
    from pyserini_tasb.regression.report_content import content_of

    return write_report(content_of(results, folder, allowed=arguments.allow_higher), Path(arguments.report))


def _unless_allowed(result: Result, allowed: Sequence[str]) -> Verdict:
    if result.verdict is Verdict.HIGHER and any(fnmatchcase(result.name, pattern) for pattern in allowed):
        return Verdict.OK
    return result.verdict or Verdict.OK


# --------
# Which conditions a command line means.


def selected(arguments: argparse.Namespace) -> list[Condition]:
    """The conditions named, matched, or all; those of Pyserini's 2CR after them. `--list` alone means all.

    Raises:
        TasbError: nothing named, a name twice, a pattern that nothing matches, one stage's name for two commands, or a
            name or file with a fault.
    """
    known = recipe_files("regressions")
    nothing_named = not (arguments.names or arguments.match or arguments.two_cr)
    every = arguments.all or (nothing_named and arguments.list)
    names = [*arguments.names, *(known if every else ())]
    for pattern in arguments.match:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            raise TasbError(
                expected="a pattern that some regression's name matches",
                found=f"--match {pattern}",
                do="see `tasb regress --list`",
            )
        names += matched
    conditions = [load_condition(name) for name in dict.fromkeys(names)]
    for name in arguments.two_cr:
        conditions += conditions_of(name)
    counted = Counter(condition.name for condition in conditions)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise TasbError(
            expected="regressions of different names, by which their results are kept",
            found=f"{', '.join(twice)} more than once",
            do="name each once, or change `name` in one of the files",
        )
    each_stage_once(stage for condition in conditions for stage in condition.stages)
    if not conditions:
        raise TasbError(
            expected="names of regressions, --all, --match or --2cr",
            found="none of them",
            do="see `tasb regress --list`",
        )
    return conditions


# --------
# Many conditions, some at a time.


def run_all(
    conditions: Sequence[Condition], condition_run: ConditionRun, runner: StageRunner, jobs: int
) -> list[Result]:
    """Run them, `jobs` at a time, and print each result as it comes; in the order given.

    Raises:
        KeyboardInterrupt: by Ctrl-C; the commands that ran then have been ended.
    """

    def one(condition: Condition) -> Result:
        result = condition_run.of(condition)
        print(printable(f"\n{as_text(result)}\n"), flush=True)
        return result

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            # Threads: the work is done by processes that these wait for.
            return [future.result() for future in [pool.submit(one, condition) for condition in conditions]]
        except BaseException:
            runner.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
