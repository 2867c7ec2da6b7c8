"""Time the k-means of `tasb cluster` at the paper's size: 400K queries of 768 dimensions into 2,000 clusters.

The vectors are synthetic, a mixture of Gaussians. Exit status 1 if the k-means takes longer than the issue allows.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from importlib.metadata import version

import faiss
import numpy as np

from pyserini_tasb.data.kmeans import METRICS, kmeans, sizes

LIMIT_SECONDS = 600
DIMENSION = 768
ROWS_AT_ONCE = 20_000
BATCH_SIZE = 32
# Close enough for components to overlap: far apart, k-means would be done before its last iteration.
CENTRE_SCALE = 0.1


def main() -> int:
    """Make the vectors, cluster them, print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000, help="vectors (default: %(default)s)")
    parser.add_argument("--clusters", type=int, default=2_000, help="default: %(default)s")
    parser.add_argument("--metric", choices=METRICS, default="spherical", help="default: %(default)s")
    arguments = parser.parse_args()
    vectors = mixture(arguments.rows, arguments.clusters)
    start = time.monotonic()
    found = kmeans(vectors, arguments.clusters, metric=arguments.metric, progress=True)
    seconds = time.monotonic() - start
    of_sizes = sizes(found.assignment, arguments.clusters, BATCH_SIZE)
    print(
        f"{arguments.metric} k-means of {arguments.rows:,} x {DIMENSION} vectors into {arguments.clusters:,} clusters, "
        f"{len(found.splits)} iterations: {seconds:.1f} s (limit {LIMIT_SECONDS} s)\n"
        f"objective {found.objective[0]:.4f} -> {found.objective[-1]:.4f}; sizes {of_sizes.min} to {of_sizes.max}, "
        f"{of_sizes.empty} empty\n"
        f"{faiss.omp_get_max_threads()} threads of {os.cpu_count()} CPUs ({platform.machine()}), "
        f"faiss {faiss.__version__}, numpy {version('numpy')}"
    )
    return int(seconds > LIMIT_SECONDS)


def mixture(rows: int, components: int) -> np.ndarray:
    """Vectors [rows, 768] of unit noise around `components` centres."""
    generator = np.random.default_rng(0)
    centres = CENTRE_SCALE * generator.standard_normal((components, DIMENSION), dtype=np.float32)
    vectors = np.empty((rows, DIMENSION), dtype=np.float32)
    for start in range(0, rows, ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        generator.standard_normal(dtype=np.float32, out=block)
        block += centres[generator.integers(components, size=len(block))]
    return vectors


if __name__ == "__main__":
    sys.exit(main())
