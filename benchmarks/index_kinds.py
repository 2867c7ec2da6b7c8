"""Each kind of index over the same vectors: size, seconds to build, recall, milliseconds a query.

    python benchmarks/index_kinds.py                          # 100,000 random vectors of 768 dimensions
    python benchmarks/index_kinds.py --vectors DIR            # of `tasb encode`, or a flat Faiss folder
    python benchmarks/index_kinds.py --kinds flat int8 OPQ64,IVF256,PQ64

Random vectors are a mixture of Gaussians. Texts are spread otherwise: take recall from real vectors.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pyserini_tasb.cli.main import main as main_of_tasb
from pyserini_tasb.indexes.build import KINDS, REPORT

COLUMNS = {
    "MB": 10,
    "build s": 10,
    "recall@10": 11,
    "recall@100": 12,
    "recall@1000": 13,
    "p50 ms": 10,
    "p99 ms": 10,
}
COMPONENTS = 500
CENTRE_SCALE = 0.5
ROWS_AT_ONCE = 10_000
# First stages that lose the most, each with a second one.
REFINED = ("int8+fp32", "rabitq+fp16", "ivfpq+fp16", "ivfrabitq+fp16")


def main() -> None:
    """Build and measure one kind after the other; print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="instead of random ones")
    parser.add_argument("--rows", type=int, default=100_000, help="random vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=768, help="of random vectors (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, *REFINED], help="KIND or KIND+fp32, +fp16")
    parser.add_argument("--threads", type=int, help="default: the cores this process may use")
    parser.add_argument("--json", type=Path, default=Path("index_kinds.json"), help="default: %(default)s")
    options = parser.parse_args()
    reports = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        vectors = options.vectors or random_vectors(folder / "vectors", options.rows, options.dimension)
        for kind in options.kinds:
            reports.append(report(kind, vectors, folder / "index", options.threads))
            shutil.rmtree(folder / "index")
    print(table(reports))
    options.json.write_text(json.dumps(reports, indent=1) + "\n")


def report(kind: str, vectors: Path, output: Path, threads: int | None) -> dict[str, Any]:
    """What `tasb index` says of a kind."""
    name, _, refinement = kind.partition("+")
    options = ["--refine", refinement] if refinement else []
    options += ["--threads", str(threads)] if threads else []
    if main_of_tasb(["index", "--vectors", str(vectors), "--output", str(output), "--kind", name, *options]):
        sys.exit(f"{kind} failed")
    return {**json.loads((output / REPORT).read_text()), "kind": kind}


def table(reports: list[dict[str, Any]]) -> str:
    """A line for each kind."""
    first = reports[0]
    lines = [
        f"{first['vectors']:,} vectors of {first['dimension']} dimensions, {first['threads']} threads",
        f"queries: {first['queries']}",
        "kind".ljust(14) + "".join(name.rjust(width) for name, width in COLUMNS.items()),
    ]
    for row in reports:
        quality = row["quality"]
        lines.append(
            f"{row['kind']:14}{row['bytes'] / 1e6:10.1f}{row['seconds']:10.1f}{quality['recall']['10']:11.4f}"
            f"{quality['recall']['100']:12.4f}{quality['recall']['1000']:13.4f}{quality['p50']:10.2f}{quality['p99']:10.2f}"
        )
    return "\n".join(lines)


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
