"""The time that a part of `make gpu-check` has left: what no longer fits is skipped, with a line that says so."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from typing import TYPE_CHECKING

import checkout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from measuring import Results

SECONDS_TO_END = 2.0  # to write the results, and to end what is stopped


class OutOfTimeError(BaseException):
    """The time is over. No `Exception`: what measures must not take it for a fault of its own."""


class TimeLeft:
    """Adds rows while there is time.

    Args:
        limit: seconds from the script's start until it is stopped from outside; None if it is not.
        results: gets the lines.
    """

    def __init__(self, limit: float | None, results: Results) -> None:
        self._end = math.inf if limit is None else checkout.STARTED + limit - SECONDS_TO_END
        self._results = results

    @property
    def seconds(self) -> float:
        """The seconds left; infinity without a limit."""
        return max(0.0, self._end - time.monotonic())

    def add(self, what: str, add: Callable[[], None], *, expected: float, most: float = math.inf) -> None:
        """Add rows if there is time for them; else skip them.

        Args:
            what: the rows, for the line that says that they are skipped.
            add: adds them. It is stopped when the time is over.
            expected: the seconds that they will probably take.
            most: the seconds that they may take at most.
        """
        left = self.seconds
        if left < expected:
            self._results.skip(what, f"{left:.0f} s are left, and it takes about {expected:.0f} s (--limit)")
            return
        try:
            with limited(min(left, most)):
                add()
        except OutOfTimeError as error:
            self._results.skip(what, str(error))


def add_limit_option(parser: argparse.ArgumentParser) -> None:
    """Add `--limit`."""
    parser.add_argument("--limit", type=float, help="seconds; rows that would take longer are skipped")


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block when the time is over; only in the main thread."""

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"it took more than {seconds:.0f} s")

    if math.isinf(seconds):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
