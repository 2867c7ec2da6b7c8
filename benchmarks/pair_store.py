"""Build and open a pair store as large as MS MARCO's; exits with 1 where it is over a limit.

    python benchmarks/pair_store.py                  # 40M rows: about 4 GB of synthetic files, and as much again
    python benchmarks/pair_store.py --rows 2000000   # with queries and passages in proportion

Rows come in random order. Every figure is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FULL_ROWS, FULL_QUERIES, FULL_PASSAGES = 40_000_000, 500_000, 8_800_000
CHUNK = 500_000
BYTES_PER_PAIR = 0.7e9 / FULL_ROWS
OPENING_SECONDS = 1.0
OPEN_MEBIBYTES = 200.0
BUILD_MEBIBYTES = 1024.0


def main() -> int:
    """Print the figures beside their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=FULL_ROWS, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for all files, which are removed; default: the system's")
    parser.add_argument("--step", choices=("write", "build", "open"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](arguments.folder, arguments.rows)))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = {step: _child(step, Path(folder), arguments.rows) for step in STEPS}
    return report(arguments.rows, figures)


def report(rows: int, figures: dict[str, dict[str, float]]) -> int:
    """Print what was measured; 1 if something is over its limit."""
    build, opened = figures["build"], figures["open"]
    print(f"{rows:,} rows, {figures['write']['bytes'] / 1e9:.2f} GB of pairs as text")
    print(f"build: {build['seconds']:.0f} s, {build['rows_per_second']:,.0f} rows/s, all texts and checksums included")
    over = 0
    for name, value, limit, unit in (
        ("peak memory of the build", build["peak_mebibytes"], BUILD_MEBIBYTES, "MiB"),
        ("pair arrays on disk", opened["bytes"] / rows, BYTES_PER_PAIR, "bytes a pair"),
        ("opening", opened["seconds"], OPENING_SECONDS, "s"),
        ("resident before the first batch", opened["mebibytes"], OPEN_MEBIBYTES, "MiB"),
    ):
        print(f"{name}: {value:.4g} {unit} (at most {limit:.4g}){'' if value <= limit else '  OVER'}")
        over += value > limit
    print(f"pair arrays: {opened['bytes'] / 1e9:.3f} GB")
    return int(over > 0)


def write_sources(folder: Path, rows: int) -> dict[str, float]:
    """Synthetic files; one positive for each query, 80 rows for each on average."""
    queries, passages = max(rows * FULL_QUERIES // FULL_ROWS, 1), max(rows * FULL_PASSAGES // FULL_ROWS, 2)
    randomness = np.random.default_rng(0)
    for name, count in (("queries", queries), ("collection", passages)):
        with (folder / f"{name}.tsv").open("w") as file:
            file.writelines(f"{number}\tthe {name} text {number}\n" for number in range(count))
    positive_of = randomness.integers(0, passages, queries)
    with (folder / "pairs.tsv").open("w") as file:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            chosen = randomness.integers(0, queries, count)
            positives = positive_of[chosen]
            negatives = (positives + randomness.integers(1, passages, count)) % passages
            scores = randomness.normal((9.0, 4.0), 3.0, (count, 2))
            columns = (*scores.T.tolist(), chosen.tolist(), positives.tolist(), negatives.tolist())
            file.writelines(map("{:.6f}\t{:.6f}\t{}\t{}\t{}\n".format, *columns))
    return {"bytes": (folder / "pairs.tsv").stat().st_size}


def build(folder: Path, rows: int) -> dict[str, float]:
    """`tasb pairs` on these files."""
    import pyserini_tasb as tasb

    start = time.perf_counter()
    tasb.pairs(
        scored_pairs=folder / "pairs.tsv",
        corpus=folder / "collection.tsv",
        topics=folder / "queries.tsv",
        output=folder / "store",
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows_per_second": rows / seconds, "peak_mebibytes": _mebibytes("VmHWM")}


def open_store(folder: Path, rows: int) -> dict[str, float]:
    """Open the store, imports included, and look at its size."""
    start = time.perf_counter()
    from pyserini_tasb.data.pair_store import open_pair_store

    store = open_pair_store(folder / "store")
    seconds, mebibytes = time.perf_counter() - start, _mebibytes("VmRSS")
    if not 0.99 * rows <= len(store) <= rows:  # a few random rows are equal
        sys.exit(f"{len(store)} pairs of {rows} rows")
    size = sum(path.stat().st_size for path in store.folder.glob("*.npy"))
    return {"seconds": seconds, "mebibytes": mebibytes, "bytes": size}


STEPS = {"write": write_sources, "build": build, "open": open_store}


def _child(step: str, folder: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *shown, figures = done.stdout.splitlines()
    print("\n".join(shown))
    result: dict[str, float] = json.loads(figures)
    return result


def _mebibytes(field: str) -> float:
    """This process's memory, mapped files included, from Linux's own account."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))


if __name__ == "__main__":
    sys.exit(main())
