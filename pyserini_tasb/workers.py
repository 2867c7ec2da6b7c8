"""Work beside this process: a polite end on a signal, functions in processes that end with this one, threads.

A `Child` holds one end of a pipe whose other end only this process has. It is closed when this process ends, even by
SIGKILL, and that is how the child knows. (Linux's PR_SET_PDEATHSIG tells of the end of the *thread* that started it.)
Commands, which are no functions of ours, are run by `commands.py` in a similar way.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.util import Finalize
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pyserini_tasb.errors import Interruption, TasbError, argument
from pyserini_tasb.registry import registering_modules, trusted_packages, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from multiprocessing.connection import Connection
    from types import FrameType

LOG = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Held while a process is started: one whose parent ends before it has told it what to do would print a traceback.
_starting = threading.RLock()


class StopRequest:
    """Notes the first signal while it is entered; a second one does what it always does, but nothing under `torchrun`.

    SIGHUP often comes twice, from the kernel and from the shell: a second one does nothing. Under `nohup` it is none.
    Under `torchrun`, SIGTERM comes twice if SLURM sends it to all processes, and torchrun kills what takes too long.
    Only the main thread may handle signals: in any other, none is ever noted.

    Attributes:
        made: whether a signal was noted.
    """

    def __init__(self) -> None:
        self.made = False
        self._number: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore(*self._before)

    def interruption(self) -> Interruption:
        """The exception to raise once the work has stopped."""
        return Interruption(self._number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if not self.made:
            self.made, self._number = True, number
            if "TORCHELASTIC_RUN_ID" not in os.environ:
                self._restore(signal.SIGINT, signal.SIGTERM)

    def _restore(self, *numbers: int) -> None:
        for number in numbers:
            signal.signal(number, self._before.pop(number))


@contextlib.contextmanager
def starting_processes() -> Iterator[None]:
    """Processes started inside leave signals to this one, which ends them, and do not run the user's script.

    A terminal, `timeout` and service managers send a signal to all processes at once. A process that multiprocessing
    starts anew would run this one's script again, up to `if __name__ == "__main__":`, and train again where the script
    has no such line. Ours need nothing of the script, so none is shown to them.
    """
    resource_tracker.ensure_running()  # on Python 3.11 starting it would let interrupts through again
    with _starting:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which those processes inherit
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            with _signalled_later():
                yield
        finally:
            sys.modules["__main__"] = script
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _signalled_later() -> Iterator[None]:
    """A signal inside the block arrives after it, also if a thread of NumPy's got the signal, which blocks none."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for each in came:  # still blocked: they arrive when the caller lets signals through
            signal.raise_signal(signal.Signals(each))


SECONDS_TO_STOP = 60.0


class Child:
    """A process that runs a function of one connection, whose other end is here; what it raises is raised here.

    It ends after the step it is in when its connection is closed, and at once when this process is no more.

    Args:
        work: a function of a module.
        name: what the process does, for messages.
        may_start_others: whether it has processes of its own.
        looks_names_up: whether it looks up names of registries, so that it needs the modules that have registered some.
    """

    def __init__(
        self,
        work: Callable[[Connection], None],
        name: str,
        *,
        may_start_others: bool = False,
        looks_names_up: bool = True,
    ) -> None:
        # Started anew, not forked: a forked process inherits locks of threads that it does not have.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._name = name
        arguments = (work, name, theirs, Extensions.here(looks_names_up=looks_names_up))
        self._process = context.Process(target=_work, args=arguments, name=name, daemon=not may_start_others)
        with starting_processes():
            self._process.start()
        theirs.close()
        # multiprocessing itself would end what is left at exit by SIGTERM, which it leaves to this process.
        self._at_exit = Finalize(self, self._process.kill, exitpriority=0)

    def send(self, message: object) -> None:
        """Say something to it; that it is dead is told by `receive`."""
        with contextlib.suppress(ConnectionError):
            self.connection.send(message)

    def receive(self) -> Any:
        """The next message of the process.

        Raises:
            TasbError: what it raised, or that it died.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of a message
            raise TasbError(
                expected=f"{self._name} to keep running (process {self.pid})",
                found=f"it {self.ending()}",
                do="read its output, then repeat the command; if memory ran out (SIGKILL), use fewer "
                f"{argument('processes')}",
            ) from error
        if isinstance(message, Exception):
            raise message
        return message

    def hang_up(self) -> None:
        """Have it end after the step it is in."""
        self.connection.close()

    def stop(self, seconds: float = SECONDS_TO_STOP) -> None:
        """End it after the step it is in; kill it if that takes longer."""
        self.hang_up()
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._at_exit.cancel()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def ending(self) -> str:
        """How it ended, once its connection has: `ended with signal SIGKILL`."""
        self._process.join(SECONDS_TO_STOP)
        code = self._process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return f"ended with {how}"


def stop_all(children: Iterable[Child], seconds: float) -> None:
    """End them after the steps they are in; kill those that take longer than this together."""
    children = list(children)
    for child in children:
        child.hang_up()
    end = time.monotonic() + seconds
    for child in children:
        child.stop(max(0.0, end - time.monotonic()))


def _work(
    work: Callable[[Connection], None],
    name: str,
    connection: Connection,
    extensions: Extensions,
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # If the other end is gone, there is nothing more to do.
    with contextlib.suppress(EOFError, ConnectionError), extensions.known():
        try:
            work(connection)
        except TasbError as error:
            connection.send(error)
        except (EOFError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 - raised again by the other end
            connection.send(RuntimeError(f"{name}:\n{traceback.format_exc()}"))


@dataclass(frozen=True)
class Extensions:
    """Code from outside this package that a process knows, for another process that does a part of the work.

    Args:
        trusted: the packages whose code files of others may name.
        modules: the modules that have registered something.
    """

    trusted: frozenset[str]
    modules: tuple[str, ...]

    @classmethod
    def here(cls, *, looks_names_up: bool = True) -> Self:
        """The extensions of this process; without modules for a process that looks no names up."""
        return cls(trusted_packages(), registering_modules() if looks_names_up else ())

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """In the block, this process knows them, too."""
        with trusting(*self.trusted):
            for module in self.modules:  # which register again here what they registered there
                with contextlib.suppress(ImportError):  # a name that is then missing is named when it is asked for
                    importlib.import_module(module)
            yield


class ForwardedLog(logging.Handler):
    """Hands what this package logs here to another process, which shows it as its own.

    Args:
        send: takes a record to the other process.
    """

    def __init__(self, send: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        self._send(record)

    def replace_others(self, level: int) -> None:
        """From now on, this process shows nothing itself.

        Args:
            level: the least level that is handed over.
        """
        package = logging.getLogger("pyserini_tasb")
        package.setLevel(level)
        package.addHandler(self)
        package.propagate = False


class LogOfOthers:
    """Shows what several processes log, each message once: all say what they compute with."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(self, record: logging.LogRecord) -> None:
        """Show a record as this process's own, unless another process has said the same."""
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            logging.getLogger(record.name).handle(record)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - for mypy: a child has one
    parent.join()
    _starting.acquire()
    os._exit(1)  # at once, as by SIGKILL: whatever is being written is not valid until it is whole


@functools.cache
def stop_with_launcher() -> None:
    """Have SIGTERM stop this process once `torchrun`, if that started it, has ended: killed, it leaves its ranks."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_stop_without, args=(os.getppid(),), daemon=True).start()


def _stop_without(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)  # the other ranks may not answer any more
    os._exit(1)


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

    It runs in threads: numpy lets go of the interpreter, so that blocks of numbers use as many cores. Within such a
    function, others have no threads of their own.

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
