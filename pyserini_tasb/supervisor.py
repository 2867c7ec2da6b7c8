"""Runs a command for another process, and ends it with all that it started once that process wants it, or is gone.

`python -S supervisor.py LIFELINE LOCKS PROGRAM …`. LIFELINE is a socket whose other end only the other process has: the
command ends when that end is closed, by whatever closes it, or when this process gets a signal. LOCKS are open files,
with commas between; their locks last as long as the command. Its exit status is written into LIFELINE, minus the signal
that ended it; this process ends with the status that a shell would give it.
While the other process is suspended (Ctrl-Z), so is the command, which the terminal does not reach.

It starts before every command that `run_command` runs, so it imports little, and nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_TO_STOP = 10.0
SECONDS_BETWEEN_LOOKS = 0.05  # at processes that are not our children: nothing tells of their end
SECONDS_TO_SUSPEND = 1.0
SUSPENDED, ENDED = b"T", b"Z"  # states in /proc: the second one's parent has not asked yet how it ended
CANNOT_START, SIGNALLED = 127, 128  # as in a shell, which adds the signal to the second one
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHANGED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of Linux


def main() -> None:
    """Run the command that `sys.argv` has, to its end."""
    lifeline, locks, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    os.set_inheritable(lifeline, False)
    asked, woken = _noted_signals()
    prctl = _prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what loses its parent becomes our child, whatever session it is in
    running = _Command(_start(command, [int(lock) for lock in locks.split(",") if lock], prctl))
    while running.status is None and not asked:
        readable, _, _ = select.select([lifeline, woken], [], [], SECONDS_TO_SUSPEND)
        if lifeline in readable:  # nothing is ever written there: it is closed
            break
        _empty(woken)
        running.reap()
        running.suspend_with(os.getppid())
    running.end(woken)
    with contextlib.suppress(OSError):  # nobody is there who wants to know
        os.write(lifeline, str(running.status).encode())
    status = running.status or 0
    raise SystemExit(status if status >= 0 else SIGNALLED - status)


def _noted_signals() -> tuple[list[int], int]:
    """The signals to end that came so far, and a pipe that is readable after any signal."""
    asked: list[int] = []
    woken, waking = os.pipe()
    for end in (woken, waking):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup: then the command ignores it, too
            signal.signal(number, lambda number, _frame: asked.append(number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return asked, woken


def _empty(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(pipe, 4096)


def _prctl() -> Callable[[int, int], object]:
    """Linux's prctl; nothing on other systems, where only the command's process group is ended."""
    try:
        import ctypes

        function = ctypes.CDLL(None).prctl
    except (ImportError, AttributeError):
        return lambda _option, _value: None
    return lambda option, value: function(*map(ctypes.c_ulong, (option, value, 0, 0, 0)))


def _start(command: list[str], locks: list[int], prctl: Callable[[int, int], object]) -> int:
    """Start the command in a process group of its own; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should this process be killed
        for lock in locks:
            os.set_inheritable(lock, True)
        for number in CHANGED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - the caller's own
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(CANNOT_START)


class _Command:
    """The command and what it started.

    Attributes:
        status: its exit status, minus the signal that ended it, or None while it runs.
    """

    status: int | None

    def __init__(self, pid: int) -> None:
        self._pid, self.status, self._suspended = pid, None, False

    def reap(self) -> None:
        """Take note of every child that has ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self.status = os.waitstatus_to_exitcode(status)

    def suspend_with(self, other: int) -> None:
        """Suspend it if that process is suspended, and let it go on if that one goes on."""
        state = _state_and_parent(other)
        suspended = state is not None and state[0] == SUSPENDED
        if suspended != self._suspended:
            self._suspended = suspended
            for pid in _descendants(self._pid):
                _send(pid, signal.SIGSTOP if suspended else signal.SIGCONT)

    def end(self, woken: int) -> None:
        """End what is left: the command first, which may end politely what it started; after a while, all by force."""
        forced_from = time.monotonic() + SECONDS_TO_STOP
        told: set[int] = set()
        while True:
            self.reap()
            left = _descendants(self._pid)
            if self.status is not None and not left:
                return
            force = time.monotonic() > forced_from
            for pid in left if force or self.status is not None else [self._pid]:
                if force or pid not in told:
                    told.add(pid)
                    _send(pid, signal.SIGKILL if force else signal.SIGTERM)
                    _send(pid, signal.SIGCONT)
            select.select([woken], [], [], SECONDS_BETWEEN_LOOKS)
            _empty(woken)


def _descendants(group: int) -> list[int]:
    """The living processes that descend from this one; without /proc, the process group, as `os.kill` takes it."""
    children: dict[int, list[int]] = {}
    try:
        names = [entry.name for entry in os.scandir("/proc") if entry.name.isdecimal()]
    except OSError:
        try:
            os.killpg(group, 0)
        except OSError:
            return []
        return [-group]
    for pid in map(int, names):
        known = _state_and_parent(pid)
        if known and known[0] != ENDED:
            children.setdefault(known[1], []).append(pid)
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _state_and_parent(pid: int) -> tuple[bytes, int] | None:
    """The state of a process and its parent, as Linux says; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes a while to import
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except OSError:
        return None
    return state, int(parent)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended just now
        os.kill(pid, number)


if __name__ == "__main__":
    main()
