"""Each kind of index over the same vectors: size, seconds to build, recall, milliseconds a query, retrieval quality.

    python benchmarks/index_kinds.py                          # 100,000 random vectors of 768 dimensions
    python benchmarks/index_kinds.py --quick                  # 10,000 of 128
    python benchmarks/index_kinds.py --vectors DIR            # of `tasb encode`, or a flat Faiss folder
    python benchmarks/index_kinds.py --vectors DIR --queries DIR --qrels qrels.dl19.txt --train DIR --plot kinds.png
    python benchmarks/index_kinds.py --kinds flat int8 OPQ64,IVF256,PQ64

--queries are vectors of judged queries, and --train those of others, which `jpq` learns from; both are made by `tasb
encode --kind query`. Random vectors are a mixture of Gaussians. Texts are spread otherwise: take recall from real ones.

The last columns are for the 8,841,823 passages of MS MARCO, not measured: GB is what grows with the vectors (codes and
docids) times that number, and once what does not (rotations and centroids); p50 grows with the vectors that a query is
compared with: all of them, `nprobe` lists of n and the n centroids, or their logarithm for graphs.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from measuring import Options, Results

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.named import Qrels, as_qrels
from pyserini_tasb.indexes.build import KINDS, REPORT, index_recipe
from pyserini_tasb.indexes.faiss_build import FaissBuild
from pyserini_tasb.indexes.faiss_folder import open_folder
from pyserini_tasb.indexes.lucene_build import LuceneBuild
from pyserini_tasb.indexes.quality import measure
from pyserini_tasb.indexes.search import search_folder
from pyserini_tasb.indexes.vector_source import open_vectors
from pyserini_tasb.plots import COLOURS, as_png, new_figure, style

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    Queries = tuple[list[str], NDArray[np.float32]]

MS_MARCO = 8_841_823
GRAPH_LINKS = 2 * 32 * 4  # bytes of a vector in HNSW32's lowest level
LIST_ID = 8  # bytes of a vector in an inverted list
DEPTHS, JUDGED = (10, 100, 1_000), ("nDCG@10", "RR@10")
COLUMNS = {
    "bytes": ".0f",
    "build s": ".1f",
    **{f"recall@{depth}": ".4f" for depth in DEPTHS},
    "p50 ms": ".2f",
    "p99 ms": ".2f",
}
PROJECTED = {"GB of 8.8M": ".2f", "p50 of 8.8M": ".0f"}
# Seconds on the machine of `measuring.PROBES`: of a kind whatever its size, and of a number in a vector.
STARTING, NUMBER = 4.5, 1.5e-7
COMPONENTS = 500
CENTRE_SCALE = 0.5
ROWS_AT_ONCE = 10_000
# First stages that lose the most, each with a second one.
REFINED = ("int8+fp32", "rabitq+fp16", "jpq+fp16", "ivfpq+fp16", "ivfrabitq+fp16")
QUICK = ("flat", "int8", "rabitq", "hnsw", "ivf", "ivfrabitq+fp16")
DEPTH = 100
# Points above or below a dot, in turn: many kinds are as good, and nearly as fast.
NAMES_AT = (16, -18, 30, -32)


def main() -> int:
    """Build and measure one kind after the other; print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"rows": 10_000, "dimension": 128, "kinds": QUICK})
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="instead of random ones")
    parser.add_argument("--rows", type=int, default=100_000, help="random vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=768, help="of random vectors (default: %(default)s)")
    parser.add_argument("--queries", type=Path, metavar="DIR", help="measure with these, not with vectors")
    parser.add_argument("--qrels", nargs="+", default=[], metavar="NAME|PATH", help="of --queries: nDCG@10, RR@10")
    parser.add_argument("--train", type=Path, metavar="DIR", help="queries that jpq learns from")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, *REFINED], help="KIND or KIND+fp32, +fp16")
    parser.add_argument("--threads", type=int, help="default: the cores this process may use")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="recall@10 against milliseconds")
    options = parser.parse_args()
    judged = {Path(name).name: as_qrels(name) for name in options.qrels}
    measures = {f"{measure} {name}": ".4f" for name in judged for measure in JUDGED}
    results = Results(options, {**COLUMNS, **measures, **PROJECTED})
    kinds = [kind for kind in options.kinds if options.train or not kind.startswith("jpq")]
    for kind in set(options.kinds) - set(kinds):
        results.skip(kind, "it learns from --train")
    reports = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows, dimension = options.rows, options.dimension
        if options.vectors:
            source = open_vectors(options.vectors)
            rows, dimension = source.count, source.dimension
        results.expect(
            f"{len(kinds)} kinds of index of {rows:,} vectors",
            python=len(kinds) * (STARTING + rows * dimension * NUMBER),
        )
        vectors = options.vectors or random_vectors(folder / "vectors", rows, dimension)
        queries = read(options.queries) if options.queries else None
        for kind in kinds:
            reports.append(report(kind, vectors, folder / "index", options, queries, judged))
            results.rows[kind] = row(reports[-1])
            shutil.rmtree(folder / "index")
    results.note(f"{rows:,} vectors of {dimension} dimensions, {reports[0]['threads']} threads")
    results.note(f"queries: {options.queries.name if options.queries else reports[0]['queries']}")
    if options.plot:
        options.plot.write_bytes(picture(reports))
    return results.finish()


def report(
    kind: str,
    vectors: Path,
    output: Path,
    options: argparse.Namespace,
    queries: Queries | None,
    judged: dict[str, Qrels],
) -> dict[str, Any]:
    """The report of `tasb index` about a kind; with `queries`, their recall, latency and retrieval quality."""
    name, _, refinement = kind.partition("+")
    train = options.train if name == "jpq" else None
    index = tasb.index(
        vectors, output=output, kind=name, refine=refinement or None, threads=options.threads, queries=train
    )
    said = {**json.loads((output / REPORT).read_text()), "kind": kind, "measures": {}}
    said["compared"] = compared(name, index.vectors) / compared(name, MS_MARCO)
    docids = sum(path.stat().st_size for path in output.glob("docid"))
    growing = index.vectors * bytes_of(name, index.dimension, refinement) + docids
    said["projected"] = (growing * MS_MARCO / index.vectors + said["bytes"] - growing) / 1e9
    if queries is None:
        return said
    source = open_vectors(vectors)
    recipe = index_recipe(name, index.vectors, index.dimension)
    build = LuceneBuild(name, index.threads) if recipe is None else FaissBuild(recipe)
    quality = measure(build, output, source, queries[1][:: max(1, len(queries[1]) // 200)])
    said["quality"] = json.loads(json.dumps(vars(quality)))
    if recipe is not None:
        run = run_of_folder(output, queries)
        for qrels_name, qrels in judged.items():
            known = Qrels({qid: grades for qid, grades in qrels.items() if qid in run}, name=qrels_name)
            said["measures"][qrels_name] = tasb.evaluate({kind: run}, qrels=known, measures=JUDGED)[kind].overall
    return said


def run_of_folder(folder: Path, queries: Queries) -> dict[str, dict[str, float]]:
    """The run of a Faiss folder: qid → docid → score, `DEPTH` hits a query."""
    opened = open_folder(folder)
    return {
        qid: dict(zip([opened.docids[row] for row in hits.rows.tolist()], hits.scores.tolist(), strict=True))
        for qid, hits in zip(queries[0], search_folder(opened, queries[1], DEPTH), strict=True)
    }


def compared(kind: str, count: int) -> float:
    """About how many vectors a query is compared with, among `count`."""
    if kind in ("hnsw", "lucene-hnsw"):
        return math.log(count)
    recipe = index_recipe(kind, count, 768)
    if recipe is None or "IVF" not in recipe.factory:
        return count
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    return lists + count * min(1, max(16, lists // 32) / lists)


def bytes_of(kind: str, dimension: int, refinement: str = "") -> float:
    """Bytes of a vector in an index that is so large that rotations and centroids do not count, without its docid."""
    recipe = index_recipe(kind, 10**9, dimension)
    whole = {"": 0, "fp16": 2 * dimension, "fp32": 4 * dimension}[refinement]
    if recipe is None or kind == "hnsw":  # Lucene's indexes, which have whole vectors or graphs, too
        return 4 * dimension + GRAPH_LINKS * kind.endswith("hnsw") + whole
    code = faiss.index_factory(dimension, re.sub(r"IVF\d+", "IVF1", recipe.factory), faiss.METRIC_INNER_PRODUCT)
    return float(code.sa_code_size() + LIST_ID * ("IVF" in recipe.factory) + whole)


def row(found: dict[str, Any]) -> dict[str, float]:
    """The columns of a kind's report."""
    quality, each = found["quality"], found["bytes"] / found["vectors"]
    return {
        "bytes": each,
        "build s": found["seconds"],
        **{f"recall@{depth}": share for depth, share in quality["recall"].items()},
        **{f"{name} ms": quality[name] for name in ("p50", "p99")},
        **{
            f"{measure} {name}": value
            for name, values in found["measures"].items()
            for measure, value in values.items()
        },
        "GB of 8.8M": found["projected"],
        "p50 of 8.8M": quality["p50"] / found["compared"],
    }


def picture(reports: list[dict[str, Any]]) -> bytes:
    """Recall@10 against the milliseconds of a query; a larger dot is a larger index."""
    figure = new_figure(7.5, 5)
    panel = figure.subplots()
    style(panel)
    for number, found in enumerate(sorted(reports, key=lambda each: float(each["quality"]["p50"]))):
        quality, size = found["quality"], found["bytes"] / found["vectors"]
        place = quality["p50"], next(iter(quality["recall"].values()))
        panel.scatter(*place, s=4 + size / 12, color=COLOURS[number % len(COLOURS)], alpha=0.7)
        panel.annotate(
            found["kind"], place, (0, NAMES_AT[number % len(NAMES_AT)]), textcoords="offset points", fontsize=8,
            ha="center", va="center", arrowprops={"arrowstyle": "-", "color": "0.7", "lw": 0.6, "shrinkB": 3},
        )  # fmt: skip
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.margins(x=0.1, y=0.15)  # room for names
    panel.set_xlabel("milliseconds of a query (p50, 1,000 hits)")
    panel.set_ylabel("recall@10 of exact search")
    return as_png(figure)


def read(path: Path) -> Queries:
    """Ids and vectors of a folder."""
    blocks = list(VectorFolder(path).blocks())
    ids = [each for block, _ in blocks for each in block]
    return ids, np.concatenate([np.asarray(vectors, np.float32) for _, vectors in blocks])


def random_vectors(folder: Path, rows: int, dimension: int) -> Path:
    """A flat Faiss folder of vectors around `COMPONENTS` centres."""
    random = np.random.default_rng(0)
    centres = CENTRE_SCALE * random.standard_normal((COMPONENTS, dimension), dtype=np.float32)
    index = faiss.IndexFlatIP(dimension)
    for start in range(0, rows, ROWS_AT_ONCE):
        block = random.standard_normal((min(ROWS_AT_ONCE, rows - start), dimension), dtype=np.float32)
        index.add(block + centres[random.integers(COMPONENTS, size=len(block))])
    folder.mkdir()
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{row}\n" for row in range(rows)))
    return folder


if __name__ == "__main__":
    sys.exit(main())
