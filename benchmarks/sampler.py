"""Batches composed per second, before tokenisation: a synthetic pair store of MS MARCO's size, memory-mapped.

    python benchmarks/sampler.py                                # 500,000 queries of 80 pairs: 320 MB of scores on disk
    python benchmarks/sampler.py --queries 10000 --pairs 20     # small

Exit status 1 if a strategy composes fewer than 2,000 batches per second on one core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measuring import Options, Results

from pyserini_tasb.training.sampling import SAMPLINGS, Sampler, build_sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray


WANTED = 2_000
WRITING = 2e-8  # seconds of a pair on the machine of `measuring.PROBES`
SEED = 1


@dataclass(frozen=True)
class MappedPairs:
    """Teacher's scores in a mapped file, as a pair store reads them."""

    offsets: NDArray[np.int64]
    scores: NDArray[np.float32]
    supervision = "scores"

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows."""
        scores = self.scores[rows] if isinstance(rows, slice) else self.scores.take(rows, axis=0)
        return scores[:, 0] - scores[:, 1]


def main() -> int:
    """Measure batches per second of every strategy."""
    parser = Options(__file__, __doc__, quick={"queries": 100_000, "seconds": 2.0})
    parser.add_argument("--queries", type=int, default=500_000)
    parser.add_argument("--pairs", type=int, default=80, help="pairs of each query, on average")
    parser.add_argument("--clusters", type=int, default=2_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3, help="measured time for each strategy")
    parser.add_argument("--folder", type=Path, help="where the mapped file goes; by default where temporary files do")
    options = parser.parse_args()
    results = Results(options, {"batches/s": ",.0f"})
    size = options.queries * options.pairs
    results.expect(
        f"scores of {size:,} pairs to write, {len(SAMPLINGS)} strategies for {options.seconds:g} s each",
        python=size * WRITING + len(SAMPLINGS) * (options.seconds + 1),
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        pairs = write_pairs(Path(folder), options.queries, options.pairs)
        clusters = random_clusters(options.queries, options.clusters)
        results.note(
            f"batches of {options.batch_size}, {options.queries:,} queries, {pairs.offsets[-1]:,} pairs, "
            f"{options.clusters:,} clusters"
        )
        for strategy in SAMPLINGS:
            sampler = build_sampler(strategy, pairs, batch_size=options.batch_size, seed=SEED, clusters=clusters)
            rate = batches_per_second(sampler, options.seconds)
            results.rows[strategy] = {"batches/s": rate}
            results.floor(f"batches a second, {strategy}", rate, least=WANTED)
    return results.finish()


def write_pairs(folder: Path, queries: int, mean: int) -> MappedPairs:
    """Random scores of about `mean` pairs for each query."""
    random = np.random.default_rng(SEED)
    counts = random.integers(mean // 2, mean + mean // 2, size=queries, endpoint=True)
    offsets = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))])
    path = folder / "scores.npy"
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(int(offsets[-1]), 2))
    for start in range(0, len(written), 1 << 20):
        part = written[start : start + (1 << 20)]
        part[:] = random.standard_normal(part.shape, dtype=np.float32) * 4
    written.flush()
    return MappedPairs(offsets, np.asarray(np.load(path, mmap_mode="r")))


def random_clusters(queries: int, count: int) -> list[NDArray[np.int64]]:
    """Every query in one of `count` clusters."""
    random = np.random.default_rng(SEED)
    return list(np.array_split(random.permutation(queries), count))


def batches_per_second(sampler: Sampler, seconds: float) -> float:
    """Composed one after the other in this process."""
    for step in range(100):  # first calls load code
        sampler.batch(step)
    steps, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        sampler.batch(100 + steps)
        steps += 1
    return steps / passed


if __name__ == "__main__":
    sys.exit(main())
