"""`tasb index`: vectors to an index that Pyserini searches."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import new_folder, write_whole
from pyserini_tasb.encoding.index_manifest import write_index_manifest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.faiss_build import FaissBuild, make_index
from pyserini_tasb.indexes.lucene_build import LuceneBuild
from pyserini_tasb.indexes.quality import Build, measure, open_query_encoder, quality_warning, sample_queries
from pyserini_tasb.indexes.vector_source import VectorSource, open_vectors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.encoding.index_manifest import EncoderIdentity
    from pyserini_tasb.indexes.quality import Quality


def run(arguments: argparse.Namespace) -> int:
    """Write the index at `arguments.output`, print what it finds and how fast; 0.

    Raises:
        TasbError: options that cannot be, vectors that are not there or damaged, a kind that Faiss refuses, an output
            that is there already, or a full disk.
    """
    output = Path(arguments.output)
    _require_free(output)
    source = open_vectors(Path(arguments.vectors))
    threads = use_threads(arguments.threads)
    build = _build(arguments, source, threads)
    # What can be wrong with the queries is found out before the index is built.
    encoders = _encoders(arguments.query_encoder, source)
    queries, described = sample_queries(source, encoders, arguments.topics, arguments.encoder, arguments.seed)
    with new_folder(output) as folder:
        start = time.monotonic()
        build.write(source, folder)
        seconds = time.monotonic() - start
        write_index_manifest(folder, encoders)  # before the report, which it does not list
        quality = measure(build, folder, source, queries)
        report = IndexReport(
            kind=arguments.kind,
            recipe=build.described,
            vectors=source.count,
            dimension=source.dimension,
            bytes=folder_bytes(folder),
            seconds=seconds,
            threads=threads,
            queries=described,
            quality=quality,
            encoders=[encoder.name for encoder in encoders],
            warning=quality_warning(quality, source.count, build.advice(folder)),
        )
        report.write(folder)
    print(report.text())
    if report.warning:
        print(f"tasb index: warning: {report.warning}", file=sys.stderr)
    return 0


def _encoders(names: Sequence[str], source: VectorSource) -> list[EncoderIdentity]:
    """The encoders that belong to an index of the vectors: those that encoded them, and further ones by name."""
    encoders = list(source.encoders)
    for name in names:
        identity = open_query_encoder(name, source, "--query-encoder").identity
        if identity is None:
            raise TasbError(
                where=f"--query-encoder {name}",
                expected="an encoder whose weights are known",
                found="a model that an earlier version exported, without saying what it was made from",
                do="export it again (`tasb export`), or name the model that it was exported from",
            )
        if all(known.differences(asdict(identity)) for known in encoders):
            encoders.append(identity)
    return encoders


def _build(arguments: argparse.Namespace, source: VectorSource, threads: int) -> Build:
    if arguments.kind in LUCENE_KINDS:
        faiss_only = {"--refine": arguments.refine, "--parameters": arguments.parameters, "--sample": arguments.sample}
        given = [option for option, value in faiss_only.items() if value is not None]
        if given:
            raise TasbError(
                where=f"--kind {arguments.kind}",
                expected="options of a Lucene index",
                found=f"{', '.join(given)}, for Faiss only",
                do="leave it out, or choose a kind of Faiss index",
            )
        return LuceneBuild(arguments.kind, threads)
    recipe = recipe_of(arguments.kind, source.count, source.dimension)
    if arguments.refine:
        recipe = recipe.refined(arguments.refine)
    if arguments.parameters:
        recipe = recipe.with_parameters(arguments.parameters)
    make_index(recipe, source.dimension)  # what Faiss does not take, it says before any work is done
    return FaissBuild(recipe, arguments.sample, arguments.seed)


def _require_free(output: Path) -> None:
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise TasbError(
            where=str(output),
            expected="a new or empty folder",
            found="something is there already",
            do="choose another folder, or remove this one",
        )


# --------
# Named kinds of Faiss index: each name stands for a factory string and its parameters at search time.

LUCENE_KINDS = ("lucene-flat", "lucene-hnsw")
REFINEMENTS = {"fp32": "RFlat", "fp16": "Refine(SQfp16)"}
# Candidates that are ranked again exactly, as a multiple of the hits asked for.
REFINED_PER_HIT = 4


@dataclass(frozen=True)
class FaissRecipe:
    """What `faiss.index_factory` and `faiss.ParameterSpace` make an index of; Faiss keeps both in its file.

    Args:
        factory: https://github.com/facebookresearch/faiss/wiki/The-index-factory
        parameters: of the search, such as `nprobe=64`; empty for Faiss's own.
    """

    factory: str
    parameters: str = ""

    def refined(self, precision: str) -> FaissRecipe:
        """With a second stage that ranks what the first has found by the vectors themselves.

        Args:
            precision: `fp32` or `fp16`, of these vectors.
        """
        refined = FaissRecipe(f"{self.factory},{REFINEMENTS[precision]}", self.parameters)
        return refined.with_parameters(f"k_factor_rf={REFINED_PER_HIT}")

    def with_parameters(self, parameters: str) -> FaissRecipe:
        """With more parameters, which come after its own and so win."""
        return FaissRecipe(self.factory, ",".join(filter(None, (self.parameters, parameters))))


KINDS = {
    "flat": FaissRecipe("Flat"),
    "fp16": FaissRecipe("SQfp16"),
    "bf16": FaissRecipe("SQbf16"),
    "int8": FaissRecipe("SQ8"),
    "hnsw": FaissRecipe("HNSW32", "efSearch=256"),
    "ivf": FaissRecipe("IVF{lists},Flat", "nprobe={probes}"),
    "ivfpq": FaissRecipe("OPQ{parts},IVF{lists},PQ{parts}", "nprobe={probes}"),
}
"""name → recipe; what stands in braces follows from the vectors."""


def recipe_of(name: str, count: int, dimension: int) -> FaissRecipe:
    """The recipe behind a kind's name, for `count` vectors; any other name is a factory string itself."""
    if name not in KINDS:
        return FaissRecipe(name)
    # 4 √n, as Faiss's guidelines advise, but no more than leaves it 39 vectors a list to train on.
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    values = {"lists": lists, "probes": min(lists, max(16, lists // 32)), "parts": _parts(dimension)}
    return FaissRecipe(KINDS[name].factory.format(**values), KINDS[name].parameters.format(**values))


def _parts(dimension: int) -> int:
    """A byte for 8 numbers, or as near to that as the dimension divides."""
    return next(parts for parts in range(max(dimension // 8, 1), 0, -1) if dimension % parts == 0)


# --------
# `report.json`, beside a new index: what it is and what it finds.

REPORT = "report.json"


@dataclass(frozen=True)
class IndexReport:
    """What is printed and saved.

    Args:
        kind: as it was asked for.
        recipe: Faiss's factory string and parameters, or Anserini's class.
        vectors, dimension: of the index.
        bytes: of all its files.
        seconds: to build it.
        threads: it was built with, and searched with.
        queries: which the quality was measured with, in words.
        quality: recall and latency.
        encoders: that belong to the index.
        warning: what is weak about it; empty if nothing is.
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
    encoders: list[str]
    warning: str

    def write(self, folder: Path) -> None:
        """Write it into the index's folder.

        Raises:
            TasbError: the disk refuses.
        """
        write_whole(folder / REPORT, json.dumps(asdict(self), indent=1) + "\n")

    def text(self) -> str:
        """For people."""
        recall = ", ".join(f"recall@{depth} {share:.4f}" for depth, share in self.quality.recall.items())
        return (
            f"{self.kind} ({self.recipe}): {self.vectors:,} vectors of {self.dimension} dimensions\n"
            f"  size     {self.bytes / 1e6:,.1f} MB, {self.bytes / self.vectors:,.0f} bytes a vector\n"
            f"  built    in {self.seconds:,.1f} s with {self.threads} threads\n"
            f"  finds    {recall} of exact search\n"
            f"  takes    p50 {self.quality.p50:.2f} ms, p99 {self.quality.p99:.2f} ms a query, {self.threads} threads\n"
            f"  queries  {self.queries}\n"
            f"  encoder  {', '.join(self.encoders) or 'not known: the vectors do not say it (--query-encoder NAME)'}"
        )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# --------
# How many threads Faiss uses.


def use_threads(asked: int | None) -> int:
    """Let Faiss use so many threads, by default as many as this process may use cores; the number.

    Faiss by itself takes every core of the machine, those of a container's neighbours too.
    """
    import faiss

    threads = asked or _usable_cores()
    faiss.omp_set_num_threads(threads)
    return threads


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS
