"""Time the k-means of `tasb cluster` at the paper's size: 400K queries of 768 dimensions into 2,000 clusters.

The vectors are synthetic, a mixture of Gaussians. Exit status 1 if the k-means takes longer than the issue allows.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from measuring import Options, Results

from pyserini_tasb.data.kmeans import METRICS, kmeans, sizes

FULL_ROWS, FULL_CLUSTERS, LIMIT_SECONDS = 400_000, 2_000, 600
COLUMNS = {"seconds": ".1f", "objective before": ".4f", "after": ".4f", "smallest": "d", "largest": "d", "empty": "d"}
# Seconds on the machine of `measuring.PROBES`: of a vector and cluster in all iterations, and of drawing a vector.
PRODUCT, DRAWING = 6e-8, 8e-5
DIMENSION = 768
ROWS_AT_ONCE = 20_000
BATCH_SIZE = 32
# Close enough for components to overlap: far apart, k-means would be done before its last iteration.
CENTRE_SCALE = 0.1


def main() -> int:
    """Make the vectors, cluster them, print the seconds."""
    parser = Options(__file__, __doc__, quick={"rows": 40_000, "clusters": 1_000})
    parser.add_argument("--rows", type=int, default=400_000, help="vectors (default: %(default)s)")
    parser.add_argument("--clusters", type=int, default=2_000, help="default: %(default)s")
    parser.add_argument("--metric", choices=METRICS, default="spherical", help="default: %(default)s")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    work = arguments.rows * arguments.clusters * PRODUCT
    results.expect(
        f"{arguments.rows:,} vectors to draw and to put into {arguments.clusters:,} clusters",
        matrices=work,
        python=arguments.rows * DRAWING,
    )
    vectors = mixture(arguments.rows, arguments.clusters)
    start = time.monotonic()
    found = kmeans(vectors, arguments.clusters, metric=arguments.metric, progress=True)
    seconds = time.monotonic() - start
    of_sizes = sizes(found.assignment, arguments.clusters, BATCH_SIZE)
    name = f"{arguments.metric} k-means, {arguments.rows:,} x {DIMENSION} into {arguments.clusters:,}"
    results.rows[name] = {
        "seconds": seconds,
        "objective before": found.objective[0],
        "after": found.objective[-1],
        "smallest": of_sizes.min,
        "largest": of_sizes.max,
        "empty": of_sizes.empty,
    }
    # Less is asked of fewer vectors and clusters.
    share = arguments.rows * arguments.clusters / (FULL_ROWS * FULL_CLUSTERS)
    results.floor("k-means, seconds", seconds, most=LIMIT_SECONDS * min(share, 1))
    return results.finish()


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
