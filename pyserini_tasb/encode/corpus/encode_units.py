"""Units of a job, one after the other: tokenised ahead, encoded, written whole."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.preparation import begin
from pyserini_tasb.encode.corpus.tokenised_units import TokenisedUnits
from pyserini_tasb.encode.corpus.unit_encoder import encode_unit
from pyserini_tasb.encode.corpus.vector_unit import UNITS, VectorUnit
from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.folder_lock import HeldError, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.encode.corpus.job import EncodeJob
    from pyserini_tasb.encode.corpus.progress import Supervisor
    from pyserini_tasb.encode.text_encoder import TextEncoder

SECONDS_BETWEEN_LOOKS = 1.0


def encode_units(
    job: EncodeJob,
    plan: CorpusPlan,
    numbers: Sequence[int],
    supervisor: Supervisor,
) -> None:
    """Encode units and write them. Those that other processes are at work on are waited for.

    Args:
        job: what is asked.
        plan: of its corpus.
        numbers: of the units.
        supervisor: is told of every batch, and may stop the work.

    Raises:
        TasbError: the model is not here, the folder is of something else, the corpus was changed, or the disk refuses.
    """
    from pyserini_tasb.encode.text_encoder import TextEncoder  # imports torch
    from pyserini_tasb.encode.text_tokenizer import open_text_tokenizer
    from pyserini_tasb.model.checkpoint import find_checkpoint

    encoder = TextEncoder(job.card, _device(job.device))
    manifest = begin(job, plan, encoder)
    tokenizer = open_text_tokenizer(
        find_checkpoint(job.card.model, allow_bin=job.card.allow_bin),
        prefix=job.card.passage_prefix,
        max_length=min(job.passage_max_length, encoder.longest),
    )
    # Where the CPU computes, tokenising leaves the cores to it; a GPU waits for every one of them.
    threads = 1 if encoder.device == "cpu" else max(1, len(os.sched_getaffinity(0)) - 1)
    left = [VectorUnit(job.output, number, manifest.digest) for number in numbers]
    with TokenisedUnits(tokenizer, job.corpus, plan, threads) as tokenised:
        while left and not supervisor.stopped():
            _encode_free_units(job, encoder, tokenised, left, supervisor)
            left = [unit for unit in left if not unit.finished]
            if left and not supervisor.stopped():
                time.sleep(SECONDS_BETWEEN_LOOKS)


def _encode_free_units(
    job: EncodeJob,
    encoder: TextEncoder,
    tokenised: TokenisedUnits,
    units: Sequence[VectorUnit],
    supervisor: Supervisor,
) -> None:
    by_number = {unit.number: unit for unit in units}
    for passages in tokenised.units(_free(units)):
        unit = by_number[passages.number]
        with contextlib.suppress(HeldError), _lock(unit):
            if unit.finished:
                continue
            vectors = encode_unit(encoder, passages, job, supervisor)
            if vectors is None:
                return
            for path in (job.output / UNITS).glob(f"{unit.number:06}.*.part"):
                path.unlink()  # of a process that was killed while it wrote
            unit.write(passages.docids, vectors)


def _free(units: Sequence[VectorUnit]) -> Iterator[int]:
    """The units that are to be done and that nobody is at work on."""
    for unit in units:
        with contextlib.suppress(HeldError):
            with _lock(unit):
                is_free = not unit.finished
            if is_free:
                yield unit.number


@contextlib.contextmanager
def _lock(unit: VectorUnit) -> Iterator[None]:
    advice = "check the folder, its permissions and the space on the disk"
    with contextlib.ExitStack() as stack:
        with os_errors_explained(unit.path(".lock"), expected="a folder that can be written to", do=advice):
            stack.enter_context(lock_file(unit.path(".lock")))
        yield


def _device(asked: str | None) -> str | None:
    """Of torchrun's processes on one machine, each has a GPU of its own; else the back end looks for one."""
    rank = os.environ.get("LOCAL_RANK")
    if asked or rank is None:
        return asked
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    # Not run here: no GPU on the machine that wrote this.
    return f"cuda:{int(rank) % torch.cuda.device_count()}"
