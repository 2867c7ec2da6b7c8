"""`tasb index`: vectors to an index that Pyserini searches."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.faiss_build import FaissBuild, make_index
from pyserini_tasb.index.kinds import LUCENE_KINDS, recipe_of
from pyserini_tasb.index.lucene_build import LuceneBuild
from pyserini_tasb.index.quality import Build, measure
from pyserini_tasb.index.report import IndexReport, folder_bytes
from pyserini_tasb.index.sample_queries import open_query_encoder, sample_queries
from pyserini_tasb.index.threads import use_threads
from pyserini_tasb.index.vector_source import VectorSource, open_vectors
from pyserini_tasb.index.weakness import quality_warning
from pyserini_tasb.index_manifest import write_index_manifest
from pyserini_tasb.texts.new_folder import new_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.index_manifest import EncoderIdentity


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
    queries, described = sample_queries(source, encoders, arguments.queries, arguments.encoder, arguments.seed)
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
