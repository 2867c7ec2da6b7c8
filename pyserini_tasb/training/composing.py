"""Processes that compose batches ahead of the training loop.

Not torch's DataLoader: of a worker that was killed while it wrote a batch (its usual state, as batches wait for the
training loop) it waits for the rest forever, or raises the error wherever the main thread happens to be; measured with
torch 2.13, start methods fork and forkserver, spawn. Here every worker has a socket of its own, closed at the other end
the moment either side dies: no lock, thread or queue is shared, and nobody can wait for the dead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pyserini_tasb.errors import TasbError
from pyserini_tasb.workers import starting_processes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from pyserini_tasb.training.batches import BatchComposer, TrainingBatch


SECONDS_TO_STOP = 5
# A socket takes a few hundred short messages (Linux: 278). With more, the training loop would wait for a worker to read
# them, while the worker waits for the training loop to read its batches.
ASKED_OF_A_WORKER = 64


class _Mendable(NamedTuple):
    expected: str
    found: str
    do: str
    where: str | None


class CompositionError(Exception):
    """Composing a batch failed for no reason that its reader can mend; the text names the step."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"composing the batch of step {step} failed:\n{reason}")
        self.step = step


@dataclass(frozen=True)
class _Failure:
    """An exception as plain text: not every exception can be sent to another process."""

    step: int
    reason: _Mendable | str

    def error(self) -> Exception:
        if isinstance(self.reason, str):
            return CompositionError(self.step, self.reason)
        expected, found, do, where = self.reason
        return TasbError(
            expected=expected, found=found, do=do, where=f"step {self.step}" + (f", {where}" if where else "")
        )


def composed_inline(composer: BatchComposer, steps: Iterable[int]) -> Generator[TrainingBatch]:
    """The batches of `steps`, each composed when it is asked for, in this process."""
    for step in steps:
        outcome = _outcome(composer, step)
        if isinstance(outcome, _Failure):
            raise outcome.error()
        yield outcome


def composed_ahead(
    composer: BatchComposer, steps: Iterable[int], *, workers: int, ahead: int
) -> Generator[TrainingBatch]:
    """The batches of `steps`, in order, composed in background processes.

    Args:
        composer: picklable.
        steps: distinct; possibly without end.
        workers: how many processes; they end with the iterator, or when this process does, however it ends.
        ahead: how many batches at most are composed beyond the one last given out. Large ones are fewer: a worker
            goes on when the connection has taken its last one (Linux: some 200 KB of batches wait there).

    Raises:
        TasbError: a worker met a mistake that the reader can mend, or died. The text names the step.
        CompositionError: a worker met any other error.
    """
    remaining = iter(steps)
    pool = _Workers()
    try:
        pool.start(composer, workers)
        asked = deque(islice(remaining, min(ahead, workers * ASKED_OF_A_WORKER)))
        for step in asked:
            pool.ask(step)
        while asked:
            batch = pool.answer(asked.popleft())
            for step in islice(remaining, 1):
                pool.ask(step)
                asked.append(step)
            yield batch
    finally:
        pool.stop()


class _Workers:
    """Worker processes; step s is worker s mod n's."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._processes: list[SpawnProcess] = []

    def start(self, composer: BatchComposer, count: int) -> None:
        # Started anew, not forked: the trainer has threads (OpenMP, Rust, perhaps a JVM or CUDA), and a forked
        # process inherits the locks they hold at that moment but not the threads that would release them.
        context = multiprocessing.get_context("spawn")
        with starting_processes():
            for number in range(count):
                ours, theirs = context.Pipe()
                self._connections.append(ours)
                process = context.Process(target=_work, args=(theirs,), name=f"batches-{number}", daemon=True)
                process.start()
                self._processes.append(process)
                theirs.close()
        for connection in self._connections:
            _send(connection, composer)

    def stop(self) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(SECONDS_TO_STOP)
            if process.exitcode is None:
                process.kill()
                process.join()

    def ask(self, step: int) -> None:
        _send(self._connections[step % len(self._connections)], step)

    def answer(self, step: int) -> TrainingBatch:
        try:
            outcome: TrainingBatch | _Failure = self._connections[step % len(self._connections)].recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of a batch
            raise self._death(step) from error
        if isinstance(outcome, _Failure):
            raise outcome.error()
        return outcome

    def _death(self, step: int) -> TasbError:
        process = self._processes[step % len(self._processes)]
        process.join(SECONDS_TO_STOP)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return TasbError(
            where=f"step {step}",
            expected="worker processes that live as long as training does",
            found=f"the one composing this batch (process {process.pid}) ended with {how}",
            do="read what it printed; if memory ran out (SIGKILL; `dmesg` tells), use fewer workers",
        )


def _send(connection: Connection, message: object) -> None:
    # That the worker is dead is told when its batch is waited for: batches that it finished before are given out.
    with contextlib.suppress(ConnectionError):
        connection.send(message)


def _work(connection: Connection) -> None:
    # The trainer's threads need the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        composer: BatchComposer = connection.recv()
    except EOFError:
        return
    # The trainer closes its end, or its death does: nothing more to do.
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(_outcome(composer, connection.recv()))


def _outcome(composer: BatchComposer, step: int) -> TrainingBatch | _Failure:
    try:
        return composer.compose(step)
    except TasbError as error:
        return _Failure(step, _Mendable(error.expected, error.found, error.do, error.where))
    except Exception:  # noqa: BLE001 - raised again where the batch is waited for
        return _Failure(step, traceback.format_exc())
