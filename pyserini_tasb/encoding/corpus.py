"""`tasb encode`: a corpus to vectors, in units that are finished or not there, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import HeldError, lock_file, new_folder
from pyserini_tasb.encoding.job import EncodeJob, folder_manifest, prepare, share_of
from pyserini_tasb.encoding.units import EncodingProgress, Supervisor, encode_units
from pyserini_tasb.encoding.vector_formats import FORMATS
from pyserini_tasb.encoding.vectors import UNITS, VectorFolder, VectorUnit
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.workers import INTERRUPTED, Child, StopRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from multiprocessing.connection import Connection

    from pyserini_tasb.encoding.job import Share
    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.encoding.units import EncodedBatch


DTYPES = {"fp32": "float32", "fp16": "float16"}
SECONDS_BETWEEN_LOOKS = 1.0


def run(arguments: argparse.Namespace) -> int:
    """Make a vector folder at `arguments.output`, or go on with one, and the formats asked for.

    Raises:
        TasbError: options that cannot be, no such encoder or corpus, a faulty corpus, a folder of something else, or
            the disk refuses.
    """
    _require_possible(arguments)
    share = share_of(arguments.shard)
    job = EncodeJob(
        encoder=arguments.encoder,
        card_digest=model_digest(arguments.encoder),
        corpus=tuple(str(Path(path).absolute()) for path in arguments.corpus),
        output=Path(arguments.output),
        max_length=arguments.max_length,
        precision=arguments.precision,
        dtype=DTYPES[arguments.dtype],
        device=arguments.device,
    )
    plan = prepare(job, arguments.unit_size)
    with StopRequest() as stop:
        _encode(job, plan, share, arguments.processes, stop)
        if share.waits and share.makes_outputs:
            while _unfinished(job) and not stop.made:
                time.sleep(SECONDS_BETWEEN_LOOKS)
    if stop.made:
        print("stopped; the same command goes on from the last finished unit", file=sys.stderr)
        return INTERRUPTED
    if share.makes_outputs:
        _finish(job, arguments.format)
    return 0


def _encode(job: EncodeJob, plan: CorpusPlan, share: Share, processes: int, stop: StopRequest) -> None:
    """The units of this command's share that are not finished."""
    unfinished = set(_unfinished(job)) if folder_manifest(job.output) else set(range(len(plan.marks)))
    numbers = share.numbers(len(plan.marks))
    left = [number for number in numbers if number in unfinished]
    if not left:
        return
    passages, left_passages = _passages(plan, numbers), _passages(plan, left)
    start = time.monotonic()
    with EncodingProgress(passages - left_passages, passages) as progress:
        supervisor = Supervisor(progress.add, lambda: stop.made)
        if min(processes, len(left)) > 1:
            encode_in_processes(job, plan, left, processes, supervisor)
        else:
            encode_units(job, plan, left, supervisor)
    seconds = time.monotonic() - start
    print(
        f"{progress.passages:,} passages encoded in {seconds:,.1f} s: {progress.passages / seconds:,.1f} a second, "
        f"{progress.padding:.1%} of the tokens padding"
    )


def _finish(job: EncodeJob, formats: Sequence[str]) -> None:
    unfinished = _unfinished(job)
    if unfinished:
        print(f"{job.output}: {len(unfinished):,} units are left to other shards; the last one makes the formats")
        return
    vectors = VectorFolder(job.output)
    for name in dict.fromkeys(formats):
        target = job.output / name
        if target.exists():
            print(f"{target}: is there already")
            continue
        with new_folder(target) as beside:
            FORMATS[name](vectors, beside)
        print(f"{target}: {_bytes(target) / vectors.count:,.0f} bytes a passage")
    _remove_left_locks(job.output)
    size = _bytes(job.output / UNITS) / vectors.count
    print(
        f"{job.output}: {vectors.count:,} vectors of {vectors.dimension} {vectors.dtype} numbers, "
        f"{size:,.0f} bytes a passage"
    )


def _remove_left_locks(output: Path) -> None:
    """Of processes that were killed between finishing and tidying up."""
    for path in (*output.glob("*.lock"), *output.glob(f"{UNITS}/*.lock")):
        with contextlib.suppress(HeldError, OSError), lock_file(path):
            pass  # which removes it


def _unfinished(job: EncodeJob) -> list[int]:
    """Of all units; what finished ones hold is looked at.

    Raises:
        TasbError: a finished unit is damaged, or of something else.
    """
    manifest = folder_manifest(job.output)
    if manifest is None:  # another process is about to write it
        return [0]
    unfinished = []
    for number in range(manifest.units):
        unit = VectorUnit(job.output, number, manifest.digest)
        if unit.finished:
            unit.require_whole(manifest.rows(number))
        else:
            unfinished.append(number)
    return unfinished


def _passages(plan: CorpusPlan, numbers: Iterable[int]) -> int:
    return sum(min(plan.unit_size, plan.records - number * plan.unit_size) for number in numbers)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _require_possible(arguments: argparse.Namespace) -> None:
    for name in ("max_length", "unit_size", "processes"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            option = f"--{name.replace('_', '-')}"
            raise TasbError(expected=f"{option} of at least 1", found=str(value), do=f"raise {option}")


# --------
# `--processes N`: units shared out to processes of this machine, each with its part of the cores.

SECONDS_BETWEEN_ROUNDS = 0.5


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
        for ready in wait(list(running), SECONDS_BETWEEN_ROUNDS):
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
