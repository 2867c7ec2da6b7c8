"""Build and open a pair store as large as MS MARCO's; exits with 1 where it is over a limit.

    python benchmarks/pair_store.py                  # 40M rows: about 4 GB of synthetic files, and as much again
    python benchmarks/pair_store.py --quick
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
from measuring import Options, Results

FULL_ROWS, FULL_QUERIES, FULL_PASSAGES = 40_000_000, 500_000, 8_800_000
CHUNK = 500_000
BYTES_PER_PAIR = 0.7e9 / FULL_ROWS
OPENING_SECONDS = 1.0
OPEN_MEBIBYTES = 200.0
BUILD_MEBIBYTES = 1024.0
COLUMNS = {
    "build s": ".1f",
    "rows/s": ",.0f",
    "build MiB": ".0f",
    "bytes/pair": ".2f",
    "open s": ".3f",
    "open MiB": ".0f",
}
ROW, STARTING = 4e-6, 4  # seconds on the machine of `measuring.PROBES`


def main() -> int:
    """Measure each step in a process of its own; judge the figures by their limits."""
    parser = Options(__file__, __doc__, quick={"rows": 1_000_000})
    parser.add_argument("--rows", type=int, default=FULL_ROWS, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for all files, which are removed; default: the system's")
    parser.add_argument("--step", choices=("write", "build", "open"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](arguments.folder, arguments.rows)))
        return 0
    results = Results(arguments, COLUMNS)
    results.expect(f"{arguments.rows:,} rows to write and to read", python=arguments.rows * ROW + STARTING)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write, build, opened = (_child(step, Path(folder), arguments.rows) for step in STEPS)
    results.note(
        f"{arguments.rows:,} rows, {write['bytes'] / 1e9:.2f} GB of pairs as text; all texts and checksums included"
    )
    results.rows["a pair store"] = {
        "build s": build["seconds"],
        "rows/s": build["rows_per_second"],
        "build MiB": build["peak_mebibytes"],
        "bytes/pair": opened["bytes"] / arguments.rows,
        "open s": opened["seconds"],
        "open MiB": opened["mebibytes"],
    }
    results.floor("pair store, MiB while it is built", build["peak_mebibytes"], most=BUILD_MEBIBYTES)
    results.floor("pair store, bytes a pair", opened["bytes"] / arguments.rows, most=BYTES_PER_PAIR)
    results.floor("pair store, seconds to open", opened["seconds"], most=OPENING_SECONDS)
    results.floor("pair store, MiB before the first batch", opened["mebibytes"], most=OPEN_MEBIBYTES)
    return results.finish()


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
