"""Blocks through threads: numpy lets go of the interpreter, so that they use as many cores."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

Result = TypeVar("Result")
Further = TypeVar("Further")
MOST_THREADS = 4  # reading and writing, which one thread does, is no faster with more


class _ThisThread(threading.local):
    works = False

    def begin(self) -> None:
        self.works = True


_this_thread = _ThisThread()


class InOrder(Iterable[Result]):
    """A function of each item, in the order of the items, of which only a few are in memory at a time.

    Within such a function, others have no threads of their own.

    Args:
        function: called in any thread.
        items: can be gone through as often as these can.
    """

    def __init__(self, function: Callable[[Any], Result], items: Iterable[Any]) -> None:
        self._function, self._items = function, items

    def then(self, further: Callable[[Result], Further]) -> InOrder[Further]:
        """`further` of each result, by the thread that has it: two pools of threads would wait for one another."""
        function = self._function
        return InOrder(lambda item: further(function(item)), self._items)

    def __iter__(self) -> Iterator[Result]:
        return map(self._function, self._items) if _this_thread.works else self._in_threads()

    def _in_threads(self) -> Iterator[Result]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = min(MOST_THREADS, cores)
        waiting: collections.deque[Future[Result]] = collections.deque()
        with ThreadPoolExecutor(threads, initializer=_this_thread.begin) as pool:
            try:
                for item in self._items:
                    waiting.append(pool.submit(self._function, item))
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)
