"""`index`: an index from vectors, which Pyserini searches, and a comparison with exact search."""

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
from pyserini_tasb.indexes.opening import has_faiss
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
UNKNOWN_ENCODER = "unknown: the vectors do not name it (--query-encoder NAME)"


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
    """Build a Faiss or Lucene index from vectors, for inner products, and measure its recall and latency.

    The index stores the name of the encoder that made the vectors, so that a search needs none. A warning is logged if
    its recall is low.

    Args:
        vectors: a folder from `encode`, or a flat Faiss folder.
        output: a new folder.
        kind: `flat`, `fp16`, `bf16`, `int8`, `rabitq`, `jpq`, `hnsw`, `ivf`, `ivfpq`, `ivfrabitq`, `lucene-flat`,
            `lucene-hnsw`, or a factory string of Faiss, such as `OPQ32,IVF1024,PQ32`.
        refine: re-rank the hits by the original vectors, which the index then keeps in `fp32` or `fp16`.
        parameters: search parameters to store in the index, such as `nprobe=64,k_factor_rf=8`.
        sample: the number of vectors to train on; by default 64 for each inverted list, and 100,000 at least.
        seed: the random seed.
        queries: a folder of query vectors from `encode` with `kind="query"`. They train a product quantiser (`jpq`, or
            a factory string such as `OPQ48,IVF1024,PQ48`) to rank passages as the original vectors do. Judgments are
            not needed.
        topics: the queries that measure the index; by default held-out ones of `queries`, or else 200 of the vectors.
        encoder: the encoder of `topics`.
        query_encoder: more encoders that may search the index, besides the one that made the vectors.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        threads: the number of threads of Faiss and Anserini; by default $OMP_NUM_THREADS, or else the cores that this
            process may use.
        overwrite: replace an index at `output`, once the new one is complete.

    Returns:
        the index and its measurements, which are also in `report.json` in its folder.

    Raises:
        TasbError: the arguments contradict each other, the vectors are missing or damaged, Faiss refuses the kind, the
            output exists, or the disk is full.
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
        kind: the requested kind.
        recipe: Faiss's factory string and parameters, or Anserini's class.
        vectors: the number of vectors.
        dimension: the length of a vector.
        bytes: the size of all files.
        seconds: the time in seconds that the build took.
        threads: the number of threads that built and searched it.
        queries: a description of the queries with which it was measured.
        quality: recall and latency.
        trained: the result of training its codes with queries; None if they were not trained.
        encoders: names of the encoders that may search it. The encoder that made the vectors comes first.
        warning: a warning about low recall or short lists of hits, with what to do; empty if there is none.
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
        """The name of the encoder that made the vectors; None if it is unknown."""
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
        """Its size, recall and latency."""
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
            do="encode some thousand queries, which need no judgments (`tasb encode --kind query`), and give their "
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
        parameters: the parameters of the search, such as `nprobe=64`; empty for Faiss's own.
        summary: the line in `tasb list index-kinds`.
        trained: whether it learns from queries.

    In factory and parameters of a kind, `{lists}`, `{probes}`, `{parts}` and `{few}` stand for numbers that follow from
    the vectors.
    """

    factory: str
    parameters: str = ""
    summary: str = ""
    trained: bool = False

    def refined(self, precision: str) -> FaissRecipe:
        """The recipe with a second stage, which re-ranks the hits of the first by the original vectors.

        Args:
            precision: `fp32` or `fp16`, of these vectors.
        """
        refined = replace(self, factory=f"{self.factory},{REFINEMENTS[precision]}")
        return refined.with_parameters(f"k_factor_rf={REFINED_PER_HIT}")

    def with_parameters(self, parameters: str) -> FaissRecipe:
        """The recipe with more parameters, which override its own."""
        return replace(self, parameters=",".join(filter(None, (self.parameters, parameters))))


@dataclass(frozen=True)
class LuceneKind:
    """A kind of index that Lucene builds.

    Args:
        summary: the line in `tasb list index-kinds`.
    """

    summary: str


KINDS: Registry[FaissRecipe | LuceneKind] = Registry(
    "kind of index", "index-kinds", instances=(FaissRecipe, LuceneKind)
)
for _name, _kind in {
    "flat": FaissRecipe("Flat", summary="Compares all vectors: exact, 4 bytes per number."),
    "fp16": FaissRecipe("SQfp16", summary="Compares all vectors, in fp16: 2 bytes per number."),
    "bf16": FaissRecipe("SQbf16", summary="Compares all vectors, in bf16: 2 bytes per number."),
    "int8": FaissRecipe("SQ8", summary="Compares all vectors, in 8 bits: 1 byte per number."),
    # RaBitQ expects that all numbers of a vector are about as large, which a random rotation (RR) sees to. Its second
    # bit is read as fast as the first; from the third on, a scan of all vectors takes ten times as long.
    "rabitq": FaissRecipe("RR,RaBitQ2", summary="Compares all vectors, in 2 bits per number, without training: small."),
    "jpq": FaissRecipe(
        "OPQ{few},PQ{few}",
        summary="Compares all vectors, in 1 byte per 16 numbers, trained with queries: smallest.",
        trained=True,
    ),
    "hnsw": FaissRecipe("HNSW32", "efSearch=256", "Follows a graph of near neighbours (HNSW): fast and large."),
    "ivf": FaissRecipe(
        "IVF{lists},Flat", "nprobe={probes}", "Searches only the lists of vectors that are nearest to the query: fast."
    ),
    "ivfpq": FaissRecipe(
        "OPQ{parts},IVF{lists},PQ{parts}",
        "nprobe={probes}",
        "Searches the nearest lists, of compressed vectors: fast and small.",
    ),
    "ivfrabitq": FaissRecipe(
        "RR,IVF{lists},RaBitQ4",
        "nprobe={probes}",
        "Searches the nearest lists, in 4 bits per number, without training of codes: fast and small.",
    ),
    "lucene-flat": LuceneKind("Compares all vectors, in Lucene."),
    "lucene-hnsw": LuceneKind("Follows a graph of near neighbours (HNSW), in Lucene."),
}.items():
    KINDS.add(_name, _kind)


def index_recipe(name: str, count: int, dimension: int) -> FaissRecipe | None:
    """The recipe behind a kind's name, for `count` vectors; any other name is a factory string itself. None: Lucene's.

    Raises:
        TasbError: `name` is `module:name`, and the module has no index kind of this name.
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
                found="a model that an earlier version exported without the name of the original",
                do="export it again (`tasb export`), or name the model that it was exported from",
            )
        if all(known.differences(asdict(identity)) for known in encoders):
            encoders.append(identity)
    return encoders


def folder_bytes(folder: Path) -> int:
    """The size of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def use_threads(asked: int | None) -> int:
    """Set Faiss's number of threads, by default OMP_NUM_THREADS or the cores that this process may use; return it.

    Faiss by itself takes every core of the machine, those of a container's neighbours too.
    """
    threads = asked or usable_threads()
    if has_faiss():
        import faiss

        faiss.omp_set_num_threads(threads)
    return threads
