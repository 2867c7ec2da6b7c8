"""The k-means of `tasb cluster` at the paper's size on a GPU: 400,000 queries of 768 dimensions into 2,000 clusters.

    python benchmarks/gpu/clustering.py

The vectors are synthetic, a mixture of Gaussians. torch computes; with `--compare`, Faiss too, on the CPU.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import checkout  # noqa: F401 - before the imports of ours
import torch
from measuring import Options, Results, seconds_of
from model_files import found_device

from pyserini_tasb.data.kmeans import METRICS, kmeans, sizes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.data.kmeans import KMeans

COLUMNS = {
    "seconds": ".2f",
    "objective before": ".4f",
    "after": ".4f",
    "smallest": "d",
    "largest": "d",
    "empty": "d",
}
CENTRE_SCALE = 0.1  # as in benchmarks/cluster.py: components overlap
BATCH_SIZE = 32
LEAST_SAME = 0.99


def main() -> int:
    """Cluster twice: the bytes must be the same."""
    parser = Options(__file__, __doc__, quick={"rows": 4_000, "clusters": 50, "dimension": 64, "compare": True})
    parser.add_argument("--rows", type=int, default=400_000, help="vectors (default: %(default)s)")
    parser.add_argument("--clusters", type=int, default=2_000, help="default: %(default)s")
    parser.add_argument("--dimension", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--metric", choices=METRICS, default="spherical", help="default: %(default)s")
    parser.add_argument("--compare", action="store_true", help="with Faiss on the CPU: minutes at the full size")
    parser.add_argument("--device", help="default: a GPU, or else the CPU")
    arguments = parser.parse_args()
    device = found_device(arguments.device)
    results = Results(arguments, COLUMNS)
    vectors = mixture(arguments.rows, arguments.clusters, arguments.dimension, device)
    results.note(
        f"{arguments.metric} k-means of {arguments.rows:,} vectors of {arguments.dimension} dimensions into "
        f"{arguments.clusters:,} clusters"
    )
    found: dict[str, KMeans] = {}

    def run(name: str, on: str | None) -> None:
        def cluster() -> None:
            found[name] = kmeans(vectors, arguments.clusters, metric=arguments.metric, device=on)

        of_sizes_after = seconds_of(cluster)
        of_sizes = sizes(found[name].assignment, arguments.clusters, BATCH_SIZE)
        results.rows[name] = {
            "seconds": of_sizes_after,
            "objective before": found[name].objective[0],
            "after": found[name].objective[-1],
            "smallest": of_sizes.min,
            "largest": of_sizes.max,
            "empty": of_sizes.empty,
        }
        results.write()

    kmeans(vectors[: 2 * arguments.clusters], arguments.clusters, iterations=1, device=device)  # warm
    run(f"torch, {device}", device)
    run(f"torch, {device}, again", device)
    first, second = found.values()
    same_bytes = first.centroids.tobytes() == second.centroids.tobytes()
    results.floor("the same bytes when it runs again", float(same_bytes), least=1)
    if arguments.compare and results.has("faiss", "Faiss", "cpu"):
        run("Faiss, cpu", None)
        same = float((found["Faiss, cpu"].assignment == first.assignment).mean())
        results.floor("vectors in the same cluster as with Faiss, share", same, least=LEAST_SAME)
    return results.finish()


def mixture(rows: int, components: int, dimension: int, device: str) -> NDArray[np.float32]:
    """Vectors [rows, dimension] of unit noise around `components` centres, drawn on the device."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(count: int) -> torch.Tensor:
        return torch.randn(count, dimension, generator=generator, device=device)

    centres = CENTRE_SCALE * normal(components)
    chosen = torch.randint(components, (rows,), generator=generator, device=device)
    drawn: NDArray[np.float32] = (normal(rows) + centres[chosen]).cpu().numpy()
    return drawn


if __name__ == "__main__":
    sys.exit(main())
