"""`index`: vectors to an index that Pyserini searches, measured against exact search at once."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.encoding.index_manifest import INDEX_MANIFEST, write_index_manifest
from pyserini_tasb.environment.processor import threads as usable_threads
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.compression import training_queries
from pyserini_tasb.indexes.faiss_build import FaissBuild, make_index
from pyserini_tasb.indexes.lucene_build import LuceneBuild
from pyserini_tasb.indexes.quality import Build, measure, open_query_encoder, quality_warning, sample_queries
from pyserini_tasb.indexes.quantised import require_trainable
from pyserini_tasb.indexes.vector_source import open_vectors
from pyserini_tasb.outputs import new_folder, require_new_folder
from pyserini_tasb.registry import Registry, require_choice
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.encoding.index_manifest import EncoderIdentity
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.indexes.compression import Trained, TrainingQueries
    from pyserini_tasb.indexes.quality import Quality
    from pyserini_tasb.indexes.vector_source import VectorSource
    from pyserini_tasb.recipes.types import Backend
    from pyserini_tasb.results import StrPath

LOG = logging.getLogger(__name__)

REPORT = "report.json"
# In an index's folder: this report, and what Faiss or Lucene writes.
FILES = (REPORT, INDEX_MANIFEST, "index", "docid", "_*", "segments_*", "write.lock")
UNKNOWN_ENCODER = "not known: the vectors do not say it (--query-encoder NAME)"


def index(
    vectors: StrPath,
    *,
    output: StrPath,
    kind: str = "flat",
    refine: Literal["fp32", "fp16"] | None = None,
    parameters: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    queries: StrPath | None = None,
    topics: AnyTopics | None = None,
    encoder: str | None = None,
    query_encoder: Sequence[str] = (),
    backend: Backend | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> Index:
    """Build a Faiss or Lucene index of vectors, for inner products, and measure what it finds.

    The index keeps the name of the encoder that made the vectors, so that a search needs none. A warning is logged
    where it answers weakly.

    Args:
        vectors: what `encode` made, or a flat Faiss folder.
        output: a new folder.
        kind: `flat`, `fp16`, `bf16`, `int8`, `rabitq`, `jpq`, `hnsw`, `ivf`, `ivfpq`, `ivfrabitq`, `lucene-flat`,
            `lucene-hnsw`, or a factory string of Faiss, such as `OPQ32,IVF1024,PQ32`.
        refine: rank what was found again by the vectors themselves, kept in fp32 or fp16.
        parameters: parameters of the search that stay in the index, such as `nprobe=64,k_factor_rf=8`.
        sample: vectors to train on; by default 64 for each inverted list, and no less than 100,000.
        seed: the seed of what is drawn at random.
        queries: what `encode` made of queries, with `kind="query"`. A product quantiser is trained to rank passages for
            them as the vectors do, without judgements: `jpq`, or a factory string such as `OPQ48,IVF1024,PQ48`.
        topics: queries to measure it with; by default those of `queries` that were held out, or 200 of the vectors.
        encoder: the encoder of `topics`.
        query_encoder: encoders that may search the index, besides the one that made the vectors.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        threads: threads of Faiss and Anserini; by default $OMP_NUM_THREADS, else the cores that this process may use.
        overwrite: replace an index at `output`, once the new one is complete.

    Returns:
        the index, and what was measured; `report.json` in its folder says the same.

    Raises:
        TasbError: arguments that cannot be, vectors that are not there or damaged, a kind that Faiss refuses, an output
            that is there already, or a full disk.
    """
    folder = Path(output)
    require_new_folder(folder, overwrite=overwrite, inputs=[vectors, queries, topics], made=FILES)
    if refine is not None:
        require_choice("refine", refine, REFINEMENTS)
    source = open_vectors(Path(vectors))
    threads = use_threads(threads)
    # What can be wrong with the queries is found out before the index is built.
    encoders = _encoders(source, query_encoder, backend)
    trained_with = None if queries is None else training_queries(Path(queries), source, encoders, seed)
    build = _build(
        source,
        kind,
        refine=refine,
        parameters=parameters,
        sample=sample,
        seed=seed,
        queries=trained_with,
        threads=threads,
    )
    if trained_with is not None and topics is None and encoder is None:
        measured_with, described = trained_with.held_out, trained_with.described
    else:
        measured_with, described = sample_queries(source, encoders, topics, encoder, seed=seed, backend=backend)
    with new_folder(folder, overwrite=overwrite, inputs=[vectors, queries, topics], made=FILES) as beside:
        start = time.monotonic()
        trained = build.write(source, beside)
        seconds = time.monotonic() - start
        write_index_manifest(beside, encoders)  # before the report, which it does not list
        quality = measure(build, beside, source, measured_with)
        made = Index(
            path=folder,
            kind=kind,
            recipe=build.described,
            vectors=source.count,
            dimension=source.dimension,
            bytes=folder_bytes(beside),
            seconds=seconds,
            threads=threads,
            queries=described,
            quality=quality,
            trained=trained,
            encoders=[encoder.name for encoder in encoders],
            warning=quality_warning(quality, source.count, build.advice(beside)),
        )
        made.write_report(beside)
    if made.warning:
        LOG.warning("%s", made.warning)
    return made


@dataclass(frozen=True)
class Index(FileResult):
    """An index, which `search` takes.

    Attributes:
        kind: as it was asked for.
        recipe: Faiss's factory string and parameters, or Anserini's class.
        vectors: how many there are.
        dimension: numbers of a vector.
        bytes: the size of all files.
        seconds: the time that it took to build.
        threads: threads that it was built and searched with.
        queries: the queries that it was measured with, in words.
        quality: recall and latency.
        trained: how its codes were trained with queries; None if they were not.
        encoders: names of the encoders that may search it, the one that made the vectors first.
        warning: what is weak about it, and what to do; empty if nothing is.
    """

    kind: str
    recipe: str
    vectors: int
    dimension: int
    bytes: int
    seconds: float
    threads: int
    queries: str
    quality: Quality
    trained: Trained | None
    encoders: list[str]
    warning: str

    @property
    def encoder(self) -> str | None:
        """The name of the encoder that made the vectors; None where it is not known."""
        return self.encoders[0] if self.encoders else None

    def write_report(self, folder: Path) -> None:
        """Write what was measured into the index's folder.

        Raises:
            TasbError: the disk refuses.
        """
        report = {name: value for name, value in asdict(self).items() if name != "path"}
        write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")

    @property
    def summary(self) -> str:
        """Its size, what it finds and how fast."""
        trained = f"  trained  {self.trained.summary}\n" if self.trained else ""
        recall = ", ".join(f"recall@{depth} {share:.4f}" for depth, share in self.quality.recall.items())
        return (
            f"{self.kind} ({self.recipe}): {self.vectors:,} vectors of {self.dimension} dimensions\n"
            f"  size     {self.bytes / 1e6:,.1f} MB, {self.bytes / self.vectors:,.0f} bytes a vector\n"
            f"  built    in {self.seconds:,.1f} s with {self.threads} threads\n"
            f"{trained}"
            f"  finds    {recall} of exact search\n"
            f"  takes    p50 {self.quality.p50:.2f} ms, p99 {self.quality.p99:.2f} ms a query, {self.threads} threads\n"
            f"  queries  {self.queries}\n"
            f"  encoder  {', '.join(self.encoders) or UNKNOWN_ENCODER}"
        )


def _build(
    source: VectorSource,
    kind: str,
    *,
    refine: str | None,
    parameters: str | None,
    sample: int | None,
    seed: int,
    queries: TrainingQueries | None,
    threads: int,
) -> Build:
    recipe = index_recipe(kind, source.count, source.dimension)
    if recipe is None:
        faiss_only = {"refine": refine, "parameters": parameters, "sample": sample, "queries": queries}
        given = [f"{argument(name)}" for name, value in faiss_only.items() if value is not None]
        if given:
            raise TasbError(
                where=f"{argument('kind', kind)}",
                expected="options of a Lucene index",
                found=f"{', '.join(given)}, for Faiss only",
                do="leave it out, or choose a kind of Faiss index",
            )
        return LuceneBuild(kind, threads)
    if refine:
        recipe = recipe.refined(refine)
    if parameters:
        recipe = recipe.with_parameters(parameters)
    index = make_index(recipe, source.dimension)  # what Faiss does not take, it says before any work is done
    if queries is not None:
        require_trainable(index, kind)
    elif recipe.trained:
        raise TasbError(
            where=f"{argument('kind', kind)}",
            expected=f"{argument('queries')}, from which this kind of index learns",
            found="none",
            do="encode some thousand queries, which need no judgements (`tasb encode --kind query`), and give their "
            "folder",
        )
    return FaissBuild(recipe, sample, seed, queries)


REFINEMENTS = {"fp32": "RFlat", "fp16": "Refine(SQfp16)"}
# Candidates that are ranked again exactly, as a multiple of the hits asked for.
REFINED_PER_HIT = 4


@dataclass(frozen=True)
class FaissRecipe:
    """A factory string and parameters of the search; Faiss keeps both in its file.

    Args:
        factory: https://github.com/facebookresearch/faiss/wiki/The-index-factory
        parameters: of the search, such as `nprobe=64`; empty for Faiss's own.
        summary: one line, for `tasb list index-kinds`.
        trained: whether it is one that learns from queries.

    In factory and parameters of a kind, `{lists}`, `{probes}`, `{parts}` and `{few}` stand for numbers that follow from
    the vectors.
    """

    factory: str
    parameters: str = ""
    summary: str = ""
    trained: bool = False

    def refined(self, precision: str) -> FaissRecipe:
        """With a second stage that ranks what the first has found by the vectors themselves.

        Args:
            precision: `fp32` or `fp16`, of these vectors.
        """
        refined = replace(self, factory=f"{self.factory},{REFINEMENTS[precision]}")
        return refined.with_parameters(f"k_factor_rf={REFINED_PER_HIT}")

    def with_parameters(self, parameters: str) -> FaissRecipe:
        """With more parameters, which come after its own and so win."""
        return replace(self, parameters=",".join(filter(None, (self.parameters, parameters))))


@dataclass(frozen=True)
class LuceneKind:
    """A kind of index that Lucene makes by itself.

    Args:
        summary: one line, for `tasb list index-kinds`.
    """

    summary: str


KINDS: Registry[FaissRecipe | LuceneKind] = Registry(
    "kind of index", "index-kinds", instances=(FaissRecipe, LuceneKind)
)
for _name, _kind in {
    "flat": FaissRecipe("Flat", summary="Compares all vectors: exact, 4 bytes a number."),
    "fp16": FaissRecipe("SQfp16", summary="Compares all vectors, in fp16: 2 bytes a number."),
    "bf16": FaissRecipe("SQbf16", summary="Compares all vectors, in bf16: 2 bytes a number."),
    "int8": FaissRecipe("SQ8", summary="Compares all vectors, in 8 bits: 1 byte a number."),
    # RaBitQ expects that all numbers of a vector are about as large, which a random rotation (RR) sees to. Its second
    # bit is read as fast as the first; from the third on, a scan of all vectors takes ten times as long.
    "rabitq": FaissRecipe("RR,RaBitQ2", summary="Compares all vectors, in 2 bits a number, without training: small."),
    "jpq": FaissRecipe(
        "OPQ{few},PQ{few}",
        summary="Compares all vectors, in a byte for 16 numbers, trained with queries: smallest.",
        trained=True,
    ),
    "hnsw": FaissRecipe("HNSW32", "efSearch=256", "A graph of near neighbours beside the vectors: fast, and large."),
    "ivf": FaissRecipe(
        "IVF{lists},Flat", "nprobe={probes}", "Lists of near vectors, of which the nearest are searched."
    ),
    "ivfpq": FaissRecipe(
        "OPQ{parts},IVF{lists},PQ{parts}", "nprobe={probes}", "The same lists, of compressed vectors: small."
    ),
    "ivfrabitq": FaissRecipe(
        "RR,IVF{lists},RaBitQ4", "nprobe={probes}", "The same lists, in 4 bits a number, which need no training: small."
    ),
    "lucene-flat": LuceneKind("Compares all vectors, in Lucene."),
    "lucene-hnsw": LuceneKind("A graph of near neighbours, in Lucene."),
}.items():
    KINDS.add(_name, _kind)


def index_recipe(name: str, count: int, dimension: int) -> FaissRecipe | None:
    """The recipe behind a kind's name, for `count` vectors; any other name is a factory string itself. None: Lucene's.

    Raises:
        TasbError: `name` is `module:name`, and no kind of index is there.
    """
    kind = KINDS[name] if name in KINDS or ":" in name else FaissRecipe(name)
    if isinstance(kind, LuceneKind):
        return None
    # 4 √n, as Faiss's guidelines advise, but no more than leaves it 39 vectors a list to train on.
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    values = {"lists": lists, "probes": min(lists, max(16, lists // 32)), "parts": _parts(dimension, 8)}
    values["few"] = _parts(dimension, 16)
    return replace(kind, factory=kind.factory.format(**values), parameters=kind.parameters.format(**values))


def _parts(dimension: int, numbers: int) -> int:
    """A byte for so many numbers, or as near to that as the dimension divides."""
    return next(parts for parts in range(max(dimension // numbers, 1), 0, -1) if dimension % parts == 0)


def _encoders(source: VectorSource, further: Sequence[str], backend: Backend | None) -> list[EncoderIdentity]:
    """The encoders that belong to an index of the vectors: those that encoded them, and further ones by name."""
    encoders = list(source.encoders)
    for name in further:
        identity = open_query_encoder(name, source, "query_encoder", backend).identity
        if identity is None:
            raise TasbError(
                where=f"{argument('query_encoder', name)}",
                expected="an encoder whose weights are known",
                found="a model that an earlier version exported, without saying what it was made from",
                do="export it again (`tasb export`), or name the model that it was exported from",
            )
        if all(known.differences(asdict(identity)) for known in encoders):
            encoders.append(identity)
    return encoders


def folder_bytes(folder: Path) -> int:
    """The size of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def use_threads(asked: int | None) -> int:
    """Let Faiss use so many threads, by default OMP_NUM_THREADS or as many as this process may use cores; the number.

    Faiss by itself takes every core of the machine, those of a container's neighbours too.
    """
    import faiss

    threads = asked or usable_threads()
    faiss.omp_set_num_threads(threads)
    return threads
