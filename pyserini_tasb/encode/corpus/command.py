"""`tasb encode`: a corpus to vectors, and these into the formats of others."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.encode_units import encode_units
from pyserini_tasb.encode.corpus.formats import FORMATS
from pyserini_tasb.encode.corpus.job import EncodeJob
from pyserini_tasb.encode.corpus.preparation import prepare
from pyserini_tasb.encode.corpus.processes import encode_in_processes
from pyserini_tasb.encode.corpus.progress import EncodingProgress, Supervisor
from pyserini_tasb.encode.corpus.sameness import folder_manifest
from pyserini_tasb.encode.corpus.share import share_of
from pyserini_tasb.encode.corpus.vector_folder import VectorFolder
from pyserini_tasb.encode.corpus.vector_unit import UNITS, VectorUnit
from pyserini_tasb.encode.model_digest import model_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.folder_lock import HeldError, lock_file
from pyserini_tasb.interruption import INTERRUPTED, StopRequest
from pyserini_tasb.texts.new_folder import new_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.encode.corpus.share import Share

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
