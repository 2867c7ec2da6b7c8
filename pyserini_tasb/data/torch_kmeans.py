"""Lloyd's iterations in torch, on any device: k-means for machines without Faiss, and for GPUs.

It takes the steps that Faiss takes, and begins with the same vectors. Sums are added in another order, so the last bits
of centroids differ from those of Faiss. On one device, the same vectors and seed give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from numpy.typing import NDArray

    from pyserini_tasb.data.kmeans import Metric, Nearest


# Products of vectors with centroids that are in memory at once: half a GiB.
PRODUCTS_AT_ONCE, MOST_ROWS = 1 << 27, 65_536
# As in Faiss: the seed of the first centroids is one higher; what decides which clusters are split has a seed of its
# own; and the two halves of a split cluster begin this far apart, relative to each number.
SEED_OFFSET, SPLIT_SEED, APART = 1, 1_234, 1 / 1_024


class TorchLloyd:
    """Iterations over vectors that are all on one device.

    Args:
        vectors: [n, dimension].
        clusters: the number of centroids.
        metric: `spherical` or `euclidean`.
        seed: the seed of the first centroids.
        device: torch's name of the device.
    """

    def __init__(self, vectors: NDArray[np.float32], clusters: int, metric: Metric, seed: int, device: str) -> None:
        self._device, self._metric = device, metric
        self._vectors, self._clusters, self._seed = self._on_device(vectors), clusters, seed

    def step(self, centroids: NDArray[np.float32] | None) -> tuple[NDArray[np.float32], float, int]:
        """One iteration.

        Args:
            centroids: [clusters, dimension]; None stands for vectors drawn at random.

        Returns:
            the new centroids; the sum over the vectors of what the metric measures, before the update; and the number
            of clusters that had lost all vectors and got half of another's.
        """
        import torch

        if centroids is None:
            rows = torch.from_numpy(first_rows(len(self._vectors), self._clusters, self._seed))
            current = self._posed(self._vectors[rows.to(self._vectors.device)])
        else:
            current = self._on_device(centroids)
        total, sums = 0.0, torch.zeros_like(current)
        counts = torch.zeros(self._clusters, dtype=torch.int64, device=current.device)
        for block in self._blocks(self._vectors):
            values, nearest = self._closest(block, current)
            total += float(values.sum(dtype=torch.float64))
            counts += torch.bincount(nearest, minlength=self._clusters)
            _add_rows(sums, nearest, block)
        means = sums / counts.clamp(min=1).unsqueeze(1)
        halved, splits = with_splits(means.cpu().numpy(), counts.cpu().numpy(), len(self._vectors))
        return self._posed(self._on_device(halved)).cpu().numpy(), total, splits

    def nearest_to(self, centroids: NDArray[np.float32]) -> Nearest:
        """A function of vectors [n, dimension]: what the metric measures [n], and the nearest centroid [n] of each."""
        import torch

        current = self._on_device(centroids)

        def nearest(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            found = [self._closest(block, current) for block in self._blocks(self._on_device(vectors))]
            values, clusters = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
            return values, clusters

        return nearest

    def _on_device(self, array: NDArray[np.float32]) -> torch.Tensor:
        import torch

        return torch.tensor(array, dtype=torch.float32, device=self._device)

    def _blocks(self, vectors: torch.Tensor) -> Iterator[torch.Tensor]:
        import torch

        yield from torch.split(vectors, max(1, min(MOST_ROWS, PRODUCTS_AT_ONCE // self._clusters)))

    def _posed(self, centroids: torch.Tensor) -> torch.Tensor:
        """Centroids as the metric wants them: of unit length, or as they are."""
        import torch

        return torch.nn.functional.normalize(centroids, dim=1) if self._metric == "spherical" else centroids

    def _closest(self, block: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nearest centroid of each vector of a block, after the number that the metric measures."""
        products = block @ centroids.T
        if self._metric == "spherical":
            values, nearest = products.max(dim=1)
            return values, nearest
        distances = products.mul_(-2).add_(centroids.square().sum(dim=1)).add_(block.square().sum(dim=1, keepdim=True))
        values, nearest = distances.min(dim=1)
        return values.clamp_(min=0), nearest


def _add_rows(sums: torch.Tensor, nearest: torch.Tensor, block: torch.Tensor) -> None:
    """Add each vector of a block to its cluster's sum."""
    if sums.device.type == "cpu":
        sums.index_add_(0, nearest, block)
        return
    # On a GPU, `index_add_` adds in whatever order its threads come; a product repeats to the byte.
    chosen = block.new_zeros(len(block), len(sums)).scatter_(1, nearest.unsqueeze(1), 1.0)
    sums.addmm_(chosen.T, block)


def first_rows(rows: int, clusters: int, seed: int) -> NDArray[np.int64]:
    """The vectors that Faiss begins with: the first ones of a random permutation (Fisher and Yates).

    Args:
        rows: the number of vectors.
        clusters: the number of centroids, below `rows`.
        seed: the seed of `faiss.Kmeans`.
    """
    draws = _mersenne_twister(seed + SEED_OFFSET)
    moved: dict[int, int] = {}  # position → row, where it is no longer that of the position
    chosen = np.empty(clusters, dtype=np.int64)
    for position in range(clusters):
        other = position + draws() % (rows - position)
        chosen[position] = moved.get(other, other)
        moved[other] = moved.get(position, position)
    return chosen


def with_splits(means: NDArray[np.float32], counts: NDArray[np.int64], rows: int) -> tuple[NDArray[np.float32], int]:
    """Centroids in which every cluster without vectors has got half of another one, and the number of those clusters.

    A cluster is chosen with a probability in proportion to its vectors, less one.

    Args:
        means: [clusters, dimension].
        counts: [clusters] the vectors of each.
        rows: the number of all vectors.
    """
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return means, 0
    means, left = means.copy(), counts.astype(np.float64)
    draws = _mersenne_twister(SPLIT_SEED)
    signs = np.where(np.arange(means.shape[1]) % 2 == 0, APART, -APART).astype(np.float32)
    for cluster in empty.tolist():
        other = 0
        while draws() / (2**32 - 1) >= (left[other] - 1) / (rows - len(means)):
            other = (other + 1) % len(means)
        means[cluster], means[other] = means[other] * (1 + signs), means[other] * (1 - signs)
        left[cluster] = left[other] / 2
        left[other] -= left[cluster]
    return means, len(empty)


def _mersenne_twister(seed: int) -> Callable[[], int]:
    """The 32-bit numbers of std::mt19937 of C++, one a call."""
    state = np.random.RandomState(seed % 2**32)  # NumPy's newer generators are others
    return lambda: int.from_bytes(state.bytes(4), "little")
