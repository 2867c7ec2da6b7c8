"""Processes that work for this one: started anew, ended with it, their errors raised here."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.interruption import interrupts_held_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

SECONDS_TO_STOP = 60.0


@dataclass(frozen=True)
class _Failure:
    mendable: dict[str, Any] | None
    traceback: str


class Child:
    """A process that runs a function of one connection, whose other end is here.

    It ends when its connection does, be that `stop` or the death of this process.

    Args:
        work: a function of a module.
        name: what the process does, for messages.
        may_start_others: whether it has processes of its own.
    """

    def __init__(self, work: Callable[[Connection], None], name: str, *, may_start_others: bool = False) -> None:
        # Started anew, not forked: a forked process inherits locks of threads that it does not have.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._name = name
        self._process = context.Process(target=_run, args=(work, theirs), name=name, daemon=not may_start_others)
        with interrupts_held_back():
            self._process.start()
        theirs.close()

    def send(self, message: object) -> None:
        """Say something to it; that it is dead is told by `receive`."""
        with contextlib.suppress(ConnectionError):
            self.connection.send(message)

    def receive(self) -> Any:
        """What it says next.

        Raises:
            TasbError: what it raised, or that it died.
        """
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._death() from error
        if not isinstance(message, _Failure):
            return message
        if message.mendable is None:
            raise RuntimeError(f"{self._name}:\n{message.traceback}")
        raise TasbError(**message.mendable)

    def hang_up(self) -> None:
        """Have it end after the step it is in."""
        self.connection.close()

    def stop(self) -> None:
        """End it after the step it is in, and wait for that."""
        self.hang_up()
        self._process.join(SECONDS_TO_STOP)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _death(self) -> TasbError:
        self._process.join(SECONDS_TO_STOP)
        code = self._process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return TasbError(
            expected=f"{self._name} to go on (process {self._process.pid})",
            found=f"it ended with {how}",
            do="read what it printed, then give the same command again; if memory ran out (SIGKILL), use fewer "
            "--processes",
        )


def _run(work: Callable[[Connection], None], connection: Connection) -> None:
    with contextlib.suppress(EOFError, ConnectionError):  # the other end is gone: nothing more to do
        try:
            work(connection)
        except TasbError as error:
            mendable = {"expected": error.expected, "found": error.found, "do": error.do, "where": error.where}
            connection.send(_Failure(mendable, ""))
        except (EOFError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 - raised again by the other end
            connection.send(_Failure(None, traceback.format_exc()))
