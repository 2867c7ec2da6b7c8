"""`--processes N`: units shared out to processes of this machine, each with its part of the cores."""

from __future__ import annotations

import os
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.child import Child
from pyserini_tasb.encode.corpus.encode_units import encode_units
from pyserini_tasb.encode.corpus.progress import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.encode.corpus.job import EncodeJob
    from pyserini_tasb.encode.corpus.progress import EncodedBatch

SECONDS_BETWEEN_LOOKS = 0.5


def encode_in_processes(
    job: EncodeJob,
    plan: CorpusPlan,
    numbers: Sequence[int],
    processes: int,
    supervisor: Supervisor,
) -> None:
    """As `encode_units`, in several processes.

    Each takes neighbouring units, so that it reads a compressed corpus only once from its first unit on.

    Args:
        job: what is asked.
        plan: of its corpus.
        numbers: of the units.
        processes: how many; no more than units.
        supervisor: is told of every batch, and may stop the work.

    Raises:
        TasbError: what one of them raised, or that one died; the others end after the batch they are in.
    """
    processes = min(processes, len(numbers))
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    children = []
    try:
        for rank in range(processes):
            share = numbers[rank * len(numbers) // processes : (rank + 1) * len(numbers) // processes]
            child = Child(_encode_share, f"encoding process {rank}", may_start_others=True)
            children.append(child)
            child.send((job, plan, share, rank, threads))
        _listen({child.connection: child for child in children}, supervisor)
    finally:
        for child in children:
            child.hang_up()
        for child in children:
            child.stop()


def _listen(running: dict[Connection, Child], supervisor: Supervisor) -> None:
    while running and not supervisor.stopped():
        for ready in wait(list(running), SECONDS_BETWEEN_LOOKS):
            batch: EncodedBatch | None = running[ready].receive()  # type: ignore[index]
            if batch is None:
                del running[ready]  # type: ignore[arg-type]
            else:
                supervisor.report(batch)


def _encode_share(connection: Connection) -> None:
    job, plan, numbers, rank, threads = connection.recv()
    # Before torch is imported, which reads it then.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("LOCAL_RANK", str(rank))
    # It says nothing more to us until it goes.
    encode_units(job, plan, numbers, Supervisor(connection.send, connection.poll))
    connection.send(None)
