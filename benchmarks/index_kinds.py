"""Each kind of index over the same vectors: size, seconds to build, recall, milliseconds a query, retrieval quality.

    python benchmarks/index_kinds.py                          # 100,000 random vectors of 768 dimensions
    python benchmarks/index_kinds.py --quick                  # 5,000 of 64
    python benchmarks/index_kinds.py --vectors DIR            # of `tasb encode`, or a flat Faiss folder
    python benchmarks/index_kinds.py --vectors DIR --queries DIR --qrels qrels.dl19.txt --train DIR --plot kinds.png
    python benchmarks/index_kinds.py --kinds flat int8 OPQ64,IVF256,PQ64

--queries are vectors of judged queries, and --train those of others, which `jpq` learns from; both are made by `tasb
encode --kind query`. Random vectors are a mixture of Gaussians. Texts are spread otherwise: take recall from real ones.

The last columns are for the 8,841,823 passages of MS MARCO, not measured: GB is bytes a vector times that number, and
p50 grows with the vectors that a query is compared with: all of them, `nprobe` lists of n and the n centroids, or their
logarithm for graphs.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

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
    from numpy.typing import NDArray

    Queries = tuple[list[str], NDArray[np.float32]]

COLUMNS = {"bytes": 8, "build s": 9, "@10": 8, "@100": 8, "@1000": 8, "p50 ms": 9, "p99 ms": 9}
PROJECTED = {"GB, 8.8M": 10, "p50 ms": 9}
MS_MARCO = 8_841_823
COMPONENTS = 500
CENTRE_SCALE = 0.5
ROWS_AT_ONCE = 10_000
# First stages that lose the most, each with a second one.
REFINED = ("int8+fp32", "rabitq+fp16", "jpq+fp16", "ivfpq+fp16", "ivfrabitq+fp16")
QUICK = ("flat", "int8", "rabitq", "hnsw", "ivf", "ivfrabitq+fp16")
DEPTH = 100


def main() -> None:
    """Build and measure one kind after the other; print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="instead of random ones")
    parser.add_argument("--rows", type=int, default=100_000, help="random vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=768, help="of random vectors (default: %(default)s)")
    parser.add_argument("--queries", type=Path, metavar="DIR", help="measure with these, not with vectors")
    parser.add_argument("--qrels", nargs="+", default=[], metavar="NAME|PATH", help="of --queries: nDCG@10, RR@10")
    parser.add_argument("--train", type=Path, metavar="DIR", help="queries that jpq learns from")
    parser.add_argument("--kinds", nargs="+", help="KIND or KIND+fp32, +fp16 (default: all)")
    parser.add_argument("--threads", type=int, help="default: the cores this process may use")
    parser.add_argument("--json", type=Path, default=Path("index_kinds.json"), help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="recall@10 against milliseconds")
    parser.add_argument("--quick", action="store_true", help="5,000 random vectors of 64 dimensions, six kinds")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.dimension = 5_000, 64
    kinds = options.kinds or (QUICK if options.quick else [*KINDS, *REFINED])
    judged = {Path(name).name: as_qrels(name) for name in options.qrels}
    reports = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        vectors = options.vectors or random_vectors(folder / "vectors", options.rows, options.dimension)
        queries = read(options.queries) if options.queries else None
        print(f"{len(kinds)} kinds, each built and searched; one that trains takes minutes", flush=True)
        for kind in kinds:
            if kind.startswith("jpq") and not options.train:
                print(f"{kind} is left out: it learns from --train", flush=True)
                continue
            reports.append(report(kind, vectors, folder / "index", options, queries, judged))
            print(f"{kind}: built in {reports[-1]['seconds']:.1f} s", flush=True)
            shutil.rmtree(folder / "index")
    print(table(reports))
    options.json.write_text(json.dumps(reports, indent=1) + "\n")
    if options.plot:
        options.plot.write_bytes(picture(reports))


def report(
    kind: str,
    vectors: Path,
    output: Path,
    options: argparse.Namespace,
    queries: Queries | None,
    judged: dict[str, Qrels],
) -> dict[str, Any]:
    """What `tasb index` says of a kind, with recall and latency of `queries` if there are any, and their quality."""
    name, _, refinement = kind.partition("+")
    train = options.train if name == "jpq" else None
    index = tasb.index(
        vectors, output=output, kind=name, refine=refinement or None, threads=options.threads, queries=train
    )
    said = {**json.loads((output / REPORT).read_text()), "kind": kind, "measures": {}}
    said["compared"] = compared(name, index.vectors) / compared(name, MS_MARCO)
    if queries is None:
        return said
    source = open_vectors(vectors)
    recipe = index_recipe(name, index.vectors, index.dimension)
    build = LuceneBuild(name, index.threads) if recipe is None else FaissBuild(recipe)
    quality = measure(build, output, source, queries[1][:: max(1, len(queries[1]) // 200)])
    said["quality"] = json.loads(json.dumps(vars(quality)))
    if recipe is not None:
        opened = open_folder(output)
        run = {
            qid: dict(zip([opened.docids[row] for row in hits.rows.tolist()], hits.scores.tolist(), strict=True))
            for qid, hits in zip(queries[0], search_folder(opened, queries[1], DEPTH), strict=True)
        }
        for qrels_name, qrels in judged.items():
            known = Qrels({qid: grades for qid, grades in qrels.items() if qid in run}, name=qrels_name)
            measures = ["nDCG@10", "RR@10"]
            said["measures"][qrels_name] = tasb.evaluate({kind: run}, qrels=known, measures=measures)[kind].overall
    return said


def compared(kind: str, count: int) -> float:
    """About how many vectors a query is compared with, among `count`."""
    if kind in ("hnsw", "lucene-hnsw"):
        return math.log(count)
    recipe = index_recipe(kind, count, 768)
    if recipe is None or "IVF" not in recipe.factory:
        return count
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    return lists + count * min(1, max(16, lists // 32) / lists)


def table(reports: list[dict[str, Any]]) -> str:
    """A line for each kind."""
    first = reports[0]
    judged = {name: max(len(name), 14) + 2 for name in first["measures"]}
    heads = {**COLUMNS, **judged}
    lines = [
        f"{first['vectors']:,} vectors of {first['dimension']} dimensions, {first['threads']} threads",
        f"queries: {first['queries']}" if not judged else "recall of exact search; nDCG@10 / RR@10 by the qrels",
        "kind".ljust(18)
        + "".join(name.rjust(width) for name, width in heads.items())
        + "".join(name.rjust(width) for name, width in PROJECTED.items()),
    ]
    for row in reports:
        quality, each = row["quality"], row["bytes"] / row["vectors"]
        recall = "".join(f"{share:8.4f}" for share in quality["recall"].values())
        measures = "".join(
            (f"{row['measures'][name]['nDCG@10']:.4f} / {row['measures'][name]['RR@10']:.4f}").rjust(width)
            if name in row["measures"]
            else " " * width
            for name, width in judged.items()
        )
        lines.append(
            f"{row['kind']:18}{each:8.0f}{row['seconds']:9.1f}{recall}{quality['p50']:9.2f}{quality['p99']:9.2f}"
            f"{measures}{each * MS_MARCO / 1e9:10.2f}{quality['p50'] / row['compared']:9.0f}"
        )
    return "\n".join(lines)


def picture(reports: list[dict[str, Any]]) -> bytes:
    """Recall@10 against the milliseconds of a query; a larger dot is a larger index."""
    figure = new_figure(7.5, 5)
    panel = figure.subplots()
    style(panel, decimals=2)
    for number, row in enumerate(reports):
        quality, size = row["quality"], row["bytes"] / row["vectors"]
        place = quality["p50"], next(iter(quality["recall"].values()))
        panel.scatter(*place, s=4 + size / 12, color=COLOURS[number % len(COLOURS)], alpha=0.7)
        panel.annotate(row["kind"], place, (4, 4 if number % 2 else -10), textcoords="offset points", fontsize=8)
    panel.set_xscale("log")
    panel.margins(x=0.15)  # room for the last names
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
    main()
