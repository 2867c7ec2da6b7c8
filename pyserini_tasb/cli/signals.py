"""The signals that end a command. Each interrupts the verb as Ctrl-C does: finished work is kept."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from pyserini_tasb.errors import Interruption

if TYPE_CHECKING:
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_BETWEEN_LOOKS = 0.05


class InterruptedBySignals:
    """In its block, SIGINT, SIGTERM and SIGHUP raise an `Interruption`; a second signal does what it did before.

    SIGHUP often comes twice, from the kernel and from the shell: a second one does nothing. What is ignored stays so,
    as SIGHUP under `nohup`.

    While a module is being imported, the interruption waits: C code that imports another module may swallow it, and
    goes on with half of that module. (NumPy does, and calls itself without end later.)
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._number: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            self._outside = sys._getframe(1)  # noqa: SLF001 - there is no other way
            before = {number: signal.getsignal(number) for number in ENDING}
            self._before = {
                number: handler
                for number, handler in before.items()
                if handler in (signal.SIG_DFL, signal.default_int_handler)
            }
            for number in self._before:
                signal.signal(number, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._look_again)
            self._look_again(number, frame)
        elif number != signal.SIGHUP:
            self._restore()
            signal.raise_signal(signal.Signals(number))

    def _look_again(self, _number: int, frame: FrameType | None) -> None:
        if self._is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_LOOKS)
            return
        self._restore()
        if signal.SIGHUP in self._before:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise Interruption(self._number or signal.SIGINT)

    def _is_importing(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self._outside:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def _restore(self) -> None:
        if signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
