"""The job of `encode`, and its beginning: is the folder of the same job, and is the corpus sound?"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.artifacts import LOCK, HeldError, lock_file
from pyserini_tasb.encoding.plan import kept_plan, plan_corpus
from pyserini_tasb.encoding.vectors import ENCODERS, MANIFEST, MOST_UNITS, UNITS, VectorManifest, read_vector_manifest
from pyserini_tasb.environment.processor import require_device
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.formats.collections import Corpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.formats.fields import Fields
    from pyserini_tasb.recipes.types import Backend, EncoderCard, Precision


LOG = logging.getLogger(__name__)
Kind = Literal["passage", "query"]
UNIT_SIZE = 16_384
PLAN = "corpus.json"
SECONDS_BETWEEN_LOOKS = 1.0
# The words for a digest, which says nothing to a reader.
DIFFERENT = {
    "card": "another encoder (its card, tokenizer or weights)",
    "corpus": "another corpus, or a changed one, or other fields of it",
}


@dataclass(frozen=True)
class EncodeJob:
    """A corpus, an encoder and a folder.

    Args:
        encoder: its name, a model's folder or hub id, or a card's path.
        card: its card.
        card_digest: a digest of its card and model.
        kind: which prefix and length cap of the card the texts get.
        corpus: the paths of the corpus.
        fields: the fields of a passage's docid and text.
        output: the vector folder.
        max_length: tokens kept of a text, if fewer than the card's.
        precision: the number format to compute in; by default the card's.
        dtype: the type to store vectors in, `float32` or `float16`.
        device: `cpu`, `cuda:0`, …; by default a GPU if the back end has one.
        backend: what computes; by default the environment's, else the card's.
    """

    encoder: str
    card: EncoderCard
    card_digest: str
    kind: Kind
    corpus: tuple[str, ...]
    fields: Fields
    output: Path
    max_length: int | None
    precision: Precision | None
    dtype: str
    device: str | None
    backend: Backend | None

    @property
    def prefix(self) -> str:
        """Put before each text."""
        return self.card.query_prefix if self.kind == "query" else self.card.passage_prefix

    @property
    def length_cap(self) -> int:
        """Tokens kept of a text, special tokens included."""
        cap = self.card.query_max_length if self.kind == "query" else self.card.passage_max_length
        return min(self.max_length or cap, cap)

    @property
    def options(self) -> dict[str, object]:
        """All that decides the vectors, apart from the corpus."""
        return {
            "card": self.card_digest,
            "kind": self.kind,
            "max_length": self.length_cap,
            "precision": self.precision or self.card.precision,
        }

    def about(self, plan: CorpusPlan, encoder: TextEncoder) -> dict[str, object]:
        """All that decides the vectors; where `auto` chooses, machines differ in what computes."""
        return {**self.options, "corpus": plan.fingerprint, "computed by": encoder.computes(self.precision)}

    def manifest(self, plan: CorpusPlan, encoder: TextEncoder) -> VectorManifest:
        """The manifest of the folder.

        The encoder's identity is not compared when a command goes on: earlier versions wrote none, and the card's
        digest says more.
        """
        identity = encoder.identity(self.encoder)
        about = {
            "encoder": self.encoder,
            ENCODERS: [asdict(identity)] if identity else [],
            **self.about(plan, encoder),
        }
        return VectorManifest(encoder.dimension, self.dtype, plan.records, plan.unit_size, about)


def prepare(job: EncodeJob, unit_size: int | None, *, here: bool = True) -> CorpusPlan:
    """The plan of the corpus, from the folder or by reading the corpus once.

    Args:
        job: what is asked. Its folder is made.
        unit_size: passages of each unit; by default what the folder was begun with.
        here: whether this machine computes.

    Raises:
        TasbError: a folder of something else, no such device, a faulty corpus, or the folder cannot be written to.
    """
    if job.device is not None and here:
        require_device(job.device)  # before the corpus is read: that takes a while
    manifest = folder_manifest(job.output)
    if manifest is not None:
        asked = {**job.options, "dtype": job.dtype, "unit_size": unit_size or manifest.unit_size}
        require_same(job.output, manifest, asked)  # before it is read, too
        unit_size = manifest.unit_size
    corpus, path = Corpus(job.corpus, job.fields), job.output / PLAN
    with _alone(job.output):
        plan = kept_plan(path, corpus, unit_size or UNIT_SIZE)
        if plan is None:
            plan = plan_corpus(corpus, unit_size or UNIT_SIZE, ", ".join(job.corpus))
            if manifest is not None:
                require_same(job.output, manifest, {"corpus": plan.fingerprint})
            plan.write(path)
    if len(plan.marks) > MOST_UNITS:
        raise TasbError(
            expected=f"units so large that there are at most {MOST_UNITS:,} of them",
            found=f"{len(plan.marks):,}, of {plan.unit_size:,} passages each",
            do=f"raise {argument('unit_size')} to {-(-plan.records // MOST_UNITS):,} or more",
        )
    if plan.empty:
        more = ", …" if plan.empty > len(plan.empty_examples) else ""
        LOG.warning(
            "%s of %s passages are empty and get the vector of the empty text: %s",
            f"{plan.empty:,}",
            f"{plan.records:,}",
            f"{', '.join(plan.empty_examples)}{more}",
        )
    return plan


def begin(job: EncodeJob, plan: CorpusPlan, encoder: TextEncoder) -> VectorManifest:
    """The manifest of the folder, written unless an earlier try or another process did.

    Args:
        job: what is asked.
        plan: the plan of its corpus.
        encoder: the encoder that computes the vectors.

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


def require_same(folder: Path, manifest: VectorManifest, asked: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder whose vectors are of another model, corpus or set of options.

    Args:
        folder: the vector folder.
        manifest: its manifest.
        asked: values of the manifest or of its `about`, as they would be now.

    Raises:
        TasbError: naming what differs; nothing was changed.
    """
    known = {**vars(manifest), "kind": manifest.kind, **manifest.about}
    differences = [
        DIFFERENT.get(name, f"{name} {known.get(name)}, not {value}")
        for name, value in asked.items()
        if known.get(name) != value
    ]
    if differences:
        raise TasbError(
            where=str(folder),
            expected="a new folder, or one begun by this same command",
            found="vectors of " + "; ".join(differences),
            do=f"repeat the command that began it, or choose another {argument('output')}; what is there was not "
            "changed",
        )


def folder_manifest(folder: Path) -> VectorManifest | None:
    """The manifest of a folder that was begun; None if nothing was.

    Raises:
        TasbError: something else is in the folder.
    """
    return read_vector_manifest(folder) if (folder / MANIFEST).exists() else None


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Processes that begin together come one after the other: the first reads the corpus, the others what it found."""
    with contextlib.ExitStack() as stack:
        advice = f"check the folder, its permissions and the space on the disk, or choose another {argument('output')}"
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
