"""Many conditions, some at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.child import printable
from pyserini_tasb.regress.summary import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.regress.condition import Condition
    from pyserini_tasb.regress.condition_run import ConditionRun
    from pyserini_tasb.regress.result import Result
    from pyserini_tasb.regress.stage_runner import StageRunner


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
