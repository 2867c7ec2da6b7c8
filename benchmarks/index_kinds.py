"""Each kind of index over the same vectors: size, seconds to build, recall, milliseconds a query.

    python benchmarks/index_kinds.py                          # 100,000 random vectors of 768 dimensions
    python benchmarks/index_kinds.py --quick                  # 10,000 of 128
    python benchmarks/index_kinds.py --vectors DIR            # of `tasb encode`, or a flat Faiss folder
    python benchmarks/index_kinds.py --kinds flat int8 OPQ64,IVF256,PQ64

Random vectors are a mixture of Gaussians. Texts are spread otherwise: take recall from real vectors.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measuring import Options, Results

from pyserini_tasb.cli.main import main as main_of_tasb
from pyserini_tasb.indexes.build import KINDS, REPORT
from pyserini_tasb.indexes.vector_source import open_vectors

COLUMNS = {
    "MB": ".1f",
    "build s": ".1f",
    "recall@10": ".4f",
    "recall@100": ".4f",
    "recall@1000": ".4f",
    "p50 ms": ".2f",
    "p99 ms": ".2f",
}
# Seconds on the machine of `measuring.PROBES`: of a kind whatever its size, and of a number in a vector.
STARTING, NUMBER = 4.5, 1.5e-7
COMPONENTS = 500
CENTRE_SCALE = 0.5
ROWS_AT_ONCE = 10_000
# First stages that lose the most, each with a second one.
REFINED = ("int8+fp32", "rabitq+fp16", "ivfpq+fp16", "ivfrabitq+fp16")


def main() -> int:
    """Build and measure one kind after the other; print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"rows": 10_000, "dimension": 128})
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="instead of random ones")
    parser.add_argument("--rows", type=int, default=100_000, help="random vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=768, help="of random vectors (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, *REFINED], help="KIND or KIND+fp32, +fp16")
    parser.add_argument("--threads", type=int, help="default: the cores this process may use")
    options = parser.parse_args()
    results = Results(options, COLUMNS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows, dimension = options.rows, options.dimension
        if options.vectors:
            source = open_vectors(options.vectors)
            rows, dimension = source.count, source.dimension
        results.expect(
            f"{len(options.kinds)} kinds of index of {rows:,} vectors",
            python=len(options.kinds) * (STARTING + rows * dimension * NUMBER),
        )
        vectors = options.vectors or random_vectors(folder / "vectors", rows, dimension)
        for kind in options.kinds:
            found = report(kind, vectors, folder / "index", options.threads)
            results.rows[kind] = row(found)
            shutil.rmtree(folder / "index")
    results.note(f"{found['vectors']:,} vectors of {found['dimension']} dimensions, {found['threads']} threads")
    results.note(f"queries: {found['queries']}")
    return results.finish()


def report(kind: str, vectors: Path, output: Path, threads: int | None) -> dict[str, Any]:
    """What `tasb index` says of a kind."""
    name, _, refinement = kind.partition("+")
    options = ["--refine", refinement] if refinement else []
    options += ["--threads", str(threads)] if threads else []
    if main_of_tasb(["index", "--vectors", str(vectors), "--output", str(output), "--kind", name, *options]):
        sys.exit(f"{kind} failed")
    return {**json.loads((output / REPORT).read_text()), "kind": kind}


def row(found: dict[str, Any]) -> dict[str, float]:
    """The columns of a kind's report."""
    quality = found["quality"]
    recall = {f"recall@{depth}": share for depth, share in quality["recall"].items()}
    latency = {f"{name} ms": quality[name] for name in ("p50", "p99")}
    return {"MB": found["bytes"] / 1e6, "build s": found["seconds"], **recall, **latency}


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
