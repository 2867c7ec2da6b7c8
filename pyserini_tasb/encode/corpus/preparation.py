"""What comes before the first vector: is it the same command, and is the corpus sound?"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.corpus import Corpus
from pyserini_tasb.encode.corpus.corpus_plan import kept_plan, plan_corpus
from pyserini_tasb.encode.corpus.sameness import folder_manifest, require_same
from pyserini_tasb.encode.corpus.vector_unit import UNITS
from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.folder_lock import LOCK, HeldError, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.encode.corpus.job import EncodeJob
    from pyserini_tasb.encode.corpus.vector_manifest import VectorManifest
    from pyserini_tasb.encode.text_encoder import TextEncoder

UNIT_SIZE = 16_384
PLAN = "corpus.json"
SECONDS_BETWEEN_LOOKS = 1.0


def prepare(job: EncodeJob, unit_size: int | None) -> CorpusPlan:
    """The plan of the corpus, from the folder or by reading the corpus once.

    Args:
        job: what is asked. Its folder is made.
        unit_size: passages of each unit; by default what the folder was begun with.

    Raises:
        TasbError: a folder of something else, a faulty corpus, or the folder cannot be written to.
    """
    manifest = folder_manifest(job.output)
    if manifest is not None:
        asked = {**job.options, "dtype": job.dtype, "unit_size": unit_size or manifest.unit_size}
        require_same(job.output, manifest, asked)  # before the corpus is read: that takes a while
        unit_size = manifest.unit_size
    corpus, path = Corpus(job.corpus), job.output / PLAN
    with _alone(job.output):
        plan = kept_plan(path, corpus, unit_size or UNIT_SIZE)
        if plan is None:
            plan = plan_corpus(corpus, unit_size or UNIT_SIZE, ", ".join(job.corpus))
            if manifest is not None:
                require_same(job.output, manifest, {"corpus": plan.fingerprint})
            plan.write(path)
    if plan.empty:
        more = ", …" if plan.empty > len(plan.empty_examples) else ""
        print(
            f"{plan.empty:,} of {plan.records:,} passages are empty and get the vector of the empty text: "
            f"{', '.join(plan.empty_examples)}{more}",
            file=sys.stderr,
        )
    return plan


def begin(job: EncodeJob, plan: CorpusPlan, encoder: TextEncoder) -> VectorManifest:
    """The manifest of the folder, written unless an earlier try or another process did.

    Args:
        job: what is asked.
        plan: of its corpus.
        encoder: that will compute.

    Raises:
        TasbError: a folder of something else, or it cannot be written to.
    """
    with _alone(job.output):
        manifest = folder_manifest(job.output)
        if manifest is None:
            manifest = job.manifest(plan, encoder)
            manifest.write(job.output)
        else:
            now = {"dimension": encoder.dimension, **job.about(plan, encoder)}
            require_same(job.output, manifest, now)
    return manifest


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Processes that begin together come one after the other: the first reads the corpus, the others what it found."""
    with contextlib.ExitStack() as stack:
        advice = "check the folder, its permissions and the space on the disk, or choose another --output"
        with os_errors_explained(output, expected="a folder that can be written to", do=advice):
            (output / UNITS).mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    stack.enter_context(lock_file(output / LOCK))
                    break
                except HeldError:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            for path in output.glob("*.json.*.part"):
                path.unlink()  # of a process that was killed while it wrote
        yield
