"""`encode`: texts to vectors in memory, or a corpus to a folder of vectors.

A corpus is encoded in units. A unit is complete or does not exist, even after a crash: see docs/encode.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, overload

from pyserini_tasb.artifacts import HeldError, lock_file, locks_work
from pyserini_tasb.encoding.job import PLAN, EncodeJob, Kind, folder_manifest, prepare
from pyserini_tasb.encoding.on_ray import EncodingCluster
from pyserini_tasb.encoding.units import EncodingProgress, Supervisor, encode_units
from pyserini_tasb.encoding.vector_formats import FORMATS
from pyserini_tasb.encoding.vectors import MANIFEST, UNITS, VectorFolder, VectorUnit
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.collections import absolute_corpus
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.backends import checked_backend
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.outputs import new_folder, require_folder
from pyserini_tasb.ray_cluster.joining import connected
from pyserini_tasb.ray_cluster.nodes import OnRay
from pyserini_tasb.registry import registry_of, require_choice
from pyserini_tasb.results import FileResult
from pyserini_tasb.workers import Child, ForwardedLog, LogOfOthers, StopRequest, stop_all, stop_with_launcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.encoding.units import EncodedBatch
    from pyserini_tasb.encoding.vector_formats import VectorFormat
    from pyserini_tasb.recipes.types import Backend, Precision
    from pyserini_tasb.results import StrPath

LOG, PACKAGE_LOG = logging.getLogger(__name__), logging.getLogger("pyserini_tasb")

DTYPES = {"fp32": "float32", "fp16": "float16"}
SECONDS_BETWEEN_LOOKS = 1.0


@overload
def encode(
    corpus: StrPath | Sequence[StrPath],
    *,
    encoder: str,
    kind: Kind = "passage",
    output: StrPath,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    output_format: Sequence[VectorFormat] = (),
    max_length: int | None = None,
    precision: Precision | None = None,
    dtype: Literal["fp32", "fp16"] = "fp32",
    device: str | None = None,
    backend: Backend | None = None,
    unit_size: int | None = None,
    processes: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    ray_cpus: int | None = None,
    ray_gpus: float | None = None,
) -> Vectors: ...


@overload
def encode(
    *,
    texts: Sequence[str],
    encoder: str,
    kind: Kind = "passage",
    max_length: int | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    backend: Backend | None = None,
) -> NDArray[np.float32]: ...


def encode(
    corpus: StrPath | Sequence[StrPath] | None = None,
    *,
    texts: Sequence[str] | None = None,
    encoder: str,
    kind: Kind = "passage",
    output: StrPath | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    output_format: Sequence[VectorFormat] = (),
    max_length: int | None = None,
    precision: Precision | None = None,
    dtype: Literal["fp32", "fp16"] = "fp32",
    device: str | None = None,
    backend: Backend | None = None,
    unit_size: int | None = None,
    processes: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    ray_cpus: int | None = None,
    ray_gpus: float | None = None,
) -> Vectors | NDArray[np.float32]:
    """Encode a corpus into a folder of vectors, or texts into an array of vectors.

    Repeat an interrupted call to continue it: finished units are not encoded again, and the folder gets the same bytes.

        vectors = tasb.encode("collection.tsv", encoder="tasb", output="vectors")
        queries = tasb.encode(texts=["what ranks?"], encoder="tasb", kind="query")  # [1, 768]

    Args:
        corpus: TSV or JSONL files, folders of them, Lucene indexes that store text, text stores: one path or several.
            Files and folders can also be URLs, such as `s3://bucket/corpus.jsonl`.
        texts: texts to encode instead of a corpus. `output` and the arguments that depend on it do not apply to them.
        encoder: `tasb`, `tasb:NAME`, a model's folder or hub id, or the path of a card.
        kind: `passage` or `query`, which decides the texts' prefix and length limit in the card.
        output: the folder for the vectors: a new one, or one that the same call began.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        output_format: the formats to write for other programs, each into its own folder in `output`: `faiss`, `jsonl`,
            `parquet`, `npy`. A later call can add formats without encoding again.
        max_length: the most tokens of a text, special tokens included, if lower than the card's limit.
        precision: the number format to compute in, or in a more accurate one: `auto`, `fp32`, `bf16`, `fp16` or `int8`;
            by default the card's.
        dtype: the type to store vectors in, `fp32` or `fp16`.
        device: `cpu`, `cuda:0`, …; by default a GPU, or else the CPU.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the card's.
        unit_size: passages per unit, the most that an interruption loses; by default 16,384, or the size that the
            folder was begun with.
        processes: the number of processes on this machine that share the work, by default 1; with `ray`, the number
            of actors, by default as many as the cluster has room for.
        shard: `i/n`: encode only every n-th unit, starting at the i-th, counted from 0. Under torchrun, each rank is a
            shard.
        ray: encode on a Ray cluster: `auto`, or `HOST:PORT`; `local` starts Ray on this machine. See docs/ray.md.
        ray_cpus: CPUs of an actor, and the threads that it computes with; by default OMP_NUM_THREADS, or the CPUs of
            the nodes divided among the actors, of which there is then one for each node.
        ray_gpus: GPUs of an actor, or a fraction of one; by default 1 if the cluster has GPUs and `device` is not
            `cpu`, else 0.

    Returns:
        the vector folder; for `texts`, vectors [texts, dimension], row i for text i.

    Raises:
        TasbError: the arguments contradict each other, the encoder or corpus does not exist, the corpus is faulty, the
            folder has something else in it, or the disk is full or broken. Ray is not installed, does not answer, or
            has no room, or its nodes differ or do not share the folder.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the current batch is done.
    """
    from pyserini_tasb.recipes import lookup, types  # bring pydantic, which `encode_corpus` does without

    require_choice("kind", kind, get_args(Kind))
    require_choice("dtype", dtype, DTYPES)
    if precision is not None:
        require_choice("precision", precision, get_args(types.Precision))
    for form in output_format:
        require_choice("output_format", form, FORMATS)
    if backend is not None:
        backend = checked_backend(backend, f"{argument('backend', backend)}")
    for name, number in {"max_length": max_length, "unit_size": unit_size, "processes": processes}.items():
        if number is not None and number < 1:
            raise TasbError(expected=f"{argument(name)} of at least 1", found=str(number), do=f"raise {argument(name)}")
    named = Fields.named(fields, docid_field)
    _require_one_input(corpus, texts, output, named)
    if texts is not None:
        return _encode_texts(
            texts, encoder, kind, max_length=max_length, precision=precision, device=device, backend=backend
        )
    paths = [corpus] if isinstance(corpus, str | os.PathLike) else list(corpus or ())
    require_folder(Path(output or ""), ours=(MANIFEST, PLAN, UNITS))
    job = EncodeJob(
        encoder=encoder,
        card=lookup.encoder_card(encoder),
        card_digest=model_digest(encoder),
        kind=kind,
        corpus=tuple(map(absolute_corpus, paths)),
        fields=named,
        output=Path(output or ""),
        max_length=max_length,
        precision=precision,
        dtype=DTYPES[dtype],
        device=device,
        backend=backend,
    )
    share = _share(shard)
    on_ray = OnRay.asked(ray, ray_cpus, ray_gpus, actors=processes)
    if on_ray and share.of > 1:
        raise TasbError(
            expected=f"the work shared by {argument('ray')}, or by {argument('shard')} or torchrun",
            found="both",
            do="leave out one of them",
        )
    with connected(on_ray.address) if on_ray else contextlib.nullcontext():
        plan = encode_corpus(job, unit_size, processes=processes or 1, share=share, on_ray=on_ray)
    left = len(_unfinished(job))
    formats = _make_formats(job, output_format) if share.makes_formats and not left else {}
    manifest = folder_manifest(job.output)
    dimension = manifest.dimension if manifest else 0
    return Vectors(job.output, encoder, plan.records, dimension, job.dtype, formats, left, kind)


@dataclass(frozen=True)
class Vectors(FileResult):
    """A folder of vectors, which `index` takes.

    Attributes:
        encoder: the encoder's name, as the caller gave it.
        passages: the number of passages of the corpus.
        dimension: the length of a vector; 0 while no process has finished a unit.
        dtype: the type in which they are stored, `float32` or `float16`.
        formats: name → folder of each requested format.
        units_left: the units that other shards still have to encode. The last shard to finish makes the formats.
        kind: `passage` or `query`.
    """

    encoder: str
    passages: int
    dimension: int
    dtype: str
    formats: dict[str, Path]
    units_left: int
    kind: Kind = "passage"

    @property
    def summary(self) -> str:
        """The number and size of the vectors."""
        if self.units_left:
            return (
                f"{self.path}: {self.units_left:,} units are left for other shards; the last shard writes the formats"
            )
        a_text = f"bytes a {self.kind}"
        lines = [f"{folder}: {_bytes(folder) / self.passages:,.0f} {a_text}" for folder in self.formats.values()]
        size = _bytes(self.path / UNITS) / self.passages
        lines.append(
            f"{self.path}: {self.passages:,} vectors of {self.dimension} {self.dtype} numbers, {size:,.0f} {a_text}"
        )
        return "\n".join(lines)


def _require_one_input(
    corpus: StrPath | Sequence[StrPath] | None,
    texts: Sequence[str] | None,
    output: StrPath | None,
    fields: Fields,
) -> None:
    if (corpus is None) == (texts is None):
        raise TasbError(
            expected=f"{argument('corpus')} or {argument('texts')}",
            found="neither" if corpus is None else "both",
            do="give one of the two",
        )
    if isinstance(texts, str):
        raise TasbError(
            expected=f"a list of texts for {argument('texts')}", found="one text", do="put it in a list: [text]"
        )
    if texts is not None and output is not None:
        raise TasbError(
            expected=f"{argument('output')} with {argument('corpus')}",
            found=f"{argument('output')} with {argument('texts')}, whose vectors are returned",
            do=f"leave out {argument('output')}",
        )
    if texts is not None and fields.given:
        raise TasbError(
            expected=f"{argument('fields')} and {argument('docid_field')} with {argument('corpus')}",
            found=f"one of them with {argument('texts')}",
            do="leave them out",
        )
    if corpus is not None and output is None:
        raise TasbError(
            expected=f"{argument('output')}, a folder for the vectors of {argument('corpus')}",
            found="none",
            do="name a new folder",
        )


def _encode_texts(
    texts: Sequence[str],
    encoder: str,
    kind: Kind,
    *,
    max_length: int | None,
    precision: Precision | None,
    device: str | None,
    backend: Backend | None,
) -> NDArray[np.float32]:
    from pyserini_tasb.encoding.encoders import TextEncoder  # imports torch
    from pyserini_tasb.recipes.lookup import encoder_card

    card = encoder_card(encoder)
    query = kind == "query"
    prefix = card.query_prefix if query else card.passage_prefix
    cap = card.query_max_length if query else card.passage_max_length
    # Queries by the back end that `TasbQueryEncoder` chooses: a search then sees these very vectors.
    text_encoder = TextEncoder(card, device, backend=backend, texts="queries" if query else "passages")
    return text_encoder.encode(
        [prefix + text for text in texts], max_length=min(max_length or cap, cap), precision=precision
    )


def encode_corpus(
    job: EncodeJob,
    unit_size: int | None = None,
    *,
    processes: int = 1,
    share: Share | None = None,
    on_ray: OnRay | None = None,
) -> CorpusPlan:
    """Encode the units of a share that are not finished; return the plan of the corpus.

    Args:
        job: the job; its folder may be one that the same job began.
        unit_size: passages of a unit; by default 16,384, or what the folder was begun with.
        processes: the number of processes on this machine that share the work.
        share: the units to encode; by default those of this process's rank under torchrun, or else all.
        on_ray: encode on the Ray cluster that this process is connected to.

    Raises:
        TasbError: no such model or device, a faulty corpus, a folder of something else, or the disk refuses.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the current batch is done.
    """
    share = share or _share(None)
    cluster = EncodingCluster(on_ray, job) if on_ray else None  # asked before the corpus is read: that takes a while
    plan = prepare(job, unit_size, here=cluster is None)
    with StopRequest() as stop:
        _encode_share(job, plan, share, cluster or processes, stop)
        if share.waits and share.makes_formats:
            if not stop.made and locks_work(job.output):
                # Another process may have ended; if it is only slower, it has a lock on the unit that it is at.
                _encode_share(job, plan, Share(), processes, stop)
            while _unfinished(job) and not stop.made:
                time.sleep(SECONDS_BETWEEN_LOOKS)
    if stop.made:
        LOG.info("stopped; the same command continues after the last finished unit")
        raise stop.interruption()
    return plan


@dataclass(frozen=True)
class Share:
    """The units that this call encodes, if several calls share the work: every `of`-th, starting at `index`.

    Args:
        index: the number of the share, from 0.
        of: the number of shares.
        waits: whether the call waits for the other shares, and encodes what a process that ended left of them.
        makes_formats: whether the call makes the formats, if no unit is left.
    """

    index: int = 0
    of: int = 1
    waits: bool = False
    makes_formats: bool = True

    def numbers(self, units: int) -> range:
        """The numbers of its units, out of `units`."""
        return range(self.index, units, self.of)


def _share(shard: str | None) -> Share:
    """The share that `shard` names, or the one of a process that `torchrun` started.

    Raises:
        TasbError: no such share, or both.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        stop_with_launcher()
    if shard is None:
        rank = int(os.environ.get("RANK", "0"))
        return Share(rank, ranks, waits=ranks > 1, makes_formats=rank == 0)
    if ranks > 1:
        raise TasbError(
            expected=f"the work shared by {argument('shard')} or by torchrun",
            found=f"{argument('shard', shard)} and {ranks} processes of torchrun",
            do="leave out one of them",
        )
    index, slash, of = shard.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise TasbError(
            expected=f"{argument('shard', 'i/n')} with 0 ≤ i < n, e.g. 0/4 to 3/4 on four machines",
            found=shard,
            do="count the shards from 0",
        )
    return Share(int(index), int(of))


def _encode_share(
    job: EncodeJob, plan: CorpusPlan, share: Share, workers: EncodingCluster | int, stop: StopRequest
) -> None:
    """Encode the units of a share that are not finished."""
    unfinished = set(_unfinished(job)) if folder_manifest(job.output) else set(range(len(plan.marks)))
    numbers = share.numbers(len(plan.marks))
    left = [number for number in numbers if number in unfinished]
    if not left:
        return
    passages, left_passages = _passages(plan, numbers), _passages(plan, left)
    start = time.monotonic()
    texts = "queries" if job.kind == "query" else "passages"
    with EncodingProgress(passages - left_passages, passages, texts) as progress:
        supervisor = Supervisor(progress.add, lambda: stop.made)
        if isinstance(workers, EncodingCluster):
            workers.encode(plan, left, supervisor)
        elif min(workers, len(left)) > 1:
            _encode_in_processes(job, plan, left, workers, supervisor)
        else:
            encode_units(job, plan, left, supervisor)
    seconds = time.monotonic() - start
    LOG.info(
        "%s %s encoded in %s s: %s a second, %s of the tokens padding, %s s of waiting for tokens",
        f"{progress.passages:,}",
        texts,
        f"{seconds:,.1f}",
        f"{progress.passages / seconds:,.1f}",
        f"{progress.padding:.1%}",
        f"{progress.waited:,.1f}",
    )


def _unfinished(job: EncodeJob) -> list[int]:
    """The numbers of unfinished units. Finished ones are looked at.

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


SECONDS_BETWEEN_ROUNDS = 0.5
SECONDS_TO_STOP = 10  # one that is killed loses the unit at hand, which is given up anyway


def _encode_in_processes(
    job: EncodeJob, plan: CorpusPlan, numbers: Sequence[int], processes: int, supervisor: Supervisor
) -> None:
    """Encode units as `encode_units` does, in several processes with a part of the cores each.

    Each takes neighbouring units, so that it reads a compressed corpus only once from its first unit on.

    Raises:
        TasbError: what one of them raised, or that one died; the others end after the batch they are in.
    """
    registry_of("poolings").portable(job.card.pooling)
    processes = min(processes, len(numbers))
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    children = []
    try:
        for rank in range(processes):
            share = numbers[rank * len(numbers) // processes : (rank + 1) * len(numbers) // processes]
            child = Child(_encode_beside, f"encoding process {rank}", may_start_others=True)
            children.append(child)
            child.send((job, plan, share, rank, threads, PACKAGE_LOG.getEffectiveLevel()))
        _listen({child.connection: child for child in children}, supervisor)
    finally:
        stop_all(children, SECONDS_TO_STOP)


def _listen(running: dict[Connection, Child], supervisor: Supervisor) -> None:
    log = LogOfOthers()
    while running and not supervisor.stopped():
        for ready in wait(list(running), SECONDS_BETWEEN_ROUNDS):
            message: EncodedBatch | logging.LogRecord | None = running[ready].receive()  # type: ignore[index]
            if message is None:
                del running[ready]  # type: ignore[arg-type]
            elif isinstance(message, logging.LogRecord):
                log.show(message)
            else:
                supervisor.report(message)


def _encode_beside(connection: Connection) -> None:
    """Encode in a process of its own: report every batch, hand over what is logged, and say None at the end."""
    job, plan, numbers, rank, threads, log_level = connection.recv()
    # Before torch is imported, which reads it then.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("LOCAL_RANK", str(rank))
    ForwardedLog(connection.send).replace_others(log_level)
    # It hears nothing more from us until we go.
    encode_units(job, plan, numbers, Supervisor(connection.send, connection.poll))
    connection.send(None)


def _make_formats(job: EncodeJob, formats: Sequence[VectorFormat]) -> dict[str, Path]:
    """Write the formats that do not exist yet; return name → folder of each requested format."""
    vectors = VectorFolder(job.output)
    folders: dict[str, Path] = {name: job.output / name for name in formats}
    for name, folder in folders.items():
        if folder.exists():
            LOG.info("%s: exists already", folder)
            continue
        with new_folder(folder) as beside:
            FORMATS[name](vectors, beside)
    _remove_left_locks(job.output)
    return folders


def _remove_left_locks(output: Path) -> None:
    """Remove the locks of processes that were killed between finishing and tidying up."""
    for path in (*output.glob("*.lock"), *output.glob(f"{UNITS}/*.lock")):
        with contextlib.suppress(HeldError, OSError), lock_file(path):
            pass  # which removes it


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
