"""`tasb fuse` beside `python -m pyserini.fusion` and polars; exits with 1 below 12 times as fast or above 1 GB.

    python benchmarks/fusion.py                          # 6,980 queries, 1,000 hits, two runs, reciprocal rank fusion
    python benchmarks/fusion.py --queries 500 --rounds 1
    python benchmarks/fusion.py --method interpolation

Files to file, each in processes of its own, by turns. Time is the wall clock's, start-up included; the best of each is
compared. Processor time stands beside it: on a machine that others use it varies less. Memory is the peak of what is
resident. All must rank the same documents with the same scores, to 1e-9: scores are drawn so that no two of a list are
equal, as the programs decide ties otherwise. Of few queries the start-up is a large part, so `--quick` fuses all once.

The row of polars, for `rrf` only, says what our own reader and writer of runs are worth beside a library's, whose
streaming engine does the same in one query. It is left out where polars is not installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from measuring import Options, Results, by_turns

from pyserini_tasb.formats.run_files import read_run_table, write_run
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.formats.text_columns import pack

LEAST_RATIO, MOST_GIGABYTES = 12.0, 1.0
DOCUMENTS = 8_841_823  # of MS MARCO
TOLERANCE = 1e-9
OPTIONS = {
    "rrf": (["--method", "rrf"], ["--method", "rrf"]),
    "interpolation": (
        ["--method", "linear", "--weights", "0.3", "0.7", "--missing", "zero"],
        ["--method", "interpolation", "--alpha", "0.3"],
    ),
}
COLUMNS = {"seconds": ".2f", "slowest": ".2f", "times": ".1f", "processor s": ".1f", "GB": ".2f"}
# Seconds on the machine of `measuring.PROBES`, of a thousand hits: to write both runs, to fuse them by all programs.
WRITING, FUSING = 4e-3, 9e-3


def main() -> int:
    """Measure, compare, print, write JSON."""
    parser = Options(__file__, __doc__, quick={"rounds": 1})
    parser.add_argument("--queries", type=int, default=6_980, help="default: %(default)s")
    parser.add_argument("--hits", type=int, default=1_000, help="default: %(default)s")
    parser.add_argument("--method", choices=tuple(OPTIONS), default="rrf", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--polars", nargs=3, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.polars:
        fuse_with_polars(*arguments.polars)
        return 0
    results = Results(arguments, COLUMNS)
    thousands = arguments.queries * arguments.hits / 1e3
    what = f"two runs of {arguments.queries:,} queries to write, and to fuse {arguments.rounds} times by each program"
    results.expect(what, python=thousands * (WRITING + arguments.rounds * FUSING) + 10 * arguments.rounds)
    with tempfile.TemporaryDirectory() as name:
        measure(arguments, Path(name), results)
    return results.finish()


def measure(arguments: argparse.Namespace, folder: Path, results: Results) -> None:
    """Write two runs, let each program fuse them by turns, compare what they wrote."""
    with_polars = arguments.method == "rrf" and results.has("polars", "polars")
    few = argparse.Namespace(queries=10, hits=arguments.hits)
    for command in commands(folder, synthetic_runs(folder, few), arguments.method, with_polars=with_polars).values():
        measured(command)  # the first start of a program compiles modules, and reads libraries from the disk
    runs = synthetic_runs(folder, arguments)
    ways = commands(folder, runs, arguments.method, with_polars=with_polars)
    figures = by_turns({name: partial(measured, command) for name, command in ways.items()}, arguments.rounds)
    for program, each in figures.items():
        seconds, processor, gigabytes = zip(*each, strict=True)
        results.rows[program] = {
            "seconds": min(seconds),
            "slowest": max(seconds),
            "processor s": min(processor),
            "GB": max(gigabytes),
        }
    best, theirs_best = results.rows["tasb fuse"], results.rows["pyserini.fusion"]
    for row in results.rows.values():
        row["times"] = theirs_best["seconds"] / row["seconds"]
    size = sum(run.stat().st_size for run in runs)
    results.note(
        f"{arguments.method}, {arguments.queries:,} queries, {arguments.hits:,} hits, 2 runs of {size / 2e6:.0f} MB; "
        f"{theirs_best['processor s'] / best['processor s']:.1f} times less processor time than pyserini.fusion"
    )
    others = ["theirs.txt", *(["polars.txt"] if with_polars else [])]
    difference = max(largest_difference(folder / "ours.txt", folder / other) for other in others)
    results.floor("fusion, times pyserini.fusion", float(best["times"]), least=LEAST_RATIO)
    results.floor("fusion, gigabytes", float(best["GB"]), most=MOST_GIGABYTES)
    results.floor("fusion, largest difference between scores at a rank", difference, most=TOLERANCE)


def commands(folder: Path, runs: list[Path], method: str, *, with_polars: bool) -> dict[str, list[str]]:
    """Program → the command by which it fuses these runs."""
    names, (ours, theirs) = [*map(str, runs)], OPTIONS[method]
    found = {
        "tasb fuse": [
            "pyserini_tasb",
            "fuse",
            *ours,
            "--runs",
            *names,
            "--output",
            f"{folder}/ours.txt",
            "--overwrite",
        ],
        "pyserini.fusion": ["pyserini.fusion", *theirs, "--runs", *names, "--output", f"{folder}/theirs.txt"],
    }
    found = {program: [sys.executable, "-m", *command] for program, command in found.items()}
    if with_polars:
        found["polars"] = [sys.executable, __file__, "--polars", *names, f"{folder}/polars.txt"]
    return found


def synthetic_runs(folder: Path, arguments: argparse.Namespace) -> list[Path]:
    """The files of both runs."""
    return [synthetic_run(folder / f"run{seed}.txt", arguments, seed) for seed in (1, 2)]


def synthetic_run(path: Path, arguments: argparse.Namespace, seed: int) -> Path:
    """A run of random documents, half of them those of the other run."""
    random, shared = np.random.default_rng(seed), np.random.default_rng(0)
    half = arguments.hits // 2

    def tables():
        for query in range(arguments.queries):
            both = distinct(shared, DOCUMENTS, half)
            own = np.setdiff1d(distinct(random, DOCUMENTS, arguments.hits), both)[: arguments.hits - half]
            numbers = random.permutation(np.concatenate([both, own]))
            scores = np.sort(distinct(random, 20_000_000, len(numbers)))[::-1] / 1e6
            yield RunTable(
                (str(1_000_000 + query),),
                np.array([0, len(numbers)]),
                pack([str(number).encode() for number in numbers.tolist()]),
                scores,
            )

    write_run(path, tables(), f"s{seed}")
    return path


def distinct(random: np.random.Generator, below: int, count: int) -> np.ndarray:
    """Different integers."""
    return random.permutation(np.unique(random.integers(0, below, 2 * count)))[:count]


def fuse_with_polars(one: str, other: str, output: str) -> None:
    """Reciprocal rank fusion of two runs, as one query of polars' streaming engine."""
    import polars as pl

    columns = ["qid", "q0", "docid", "rank", "score", "tag"]
    fused = (
        pl.concat(
            pl.scan_csv(
                path,
                has_header=False,
                separator=" ",
                new_columns=columns,
                schema_overrides={"qid": pl.String, "docid": pl.String},
            ).select("qid", "docid", pl.col("score").rank("ordinal", descending=True).over("qid").alias("rank"))
            for path in (one, other)
        )
        .group_by("qid", "docid")
        .agg((1 / (60 + pl.col("rank"))).sum().alias("score"))
        .sort("qid", "score", "docid", descending=[False, True, True])
        .with_columns(pl.int_range(1, pl.len() + 1).over("qid").alias("rank"))
        .filter(pl.col("rank") <= 1000)
        .select("qid", pl.lit("Q0"), "docid", "rank", "score", pl.lit("polars").alias("tag"))
    )
    fused.sink_csv(output, include_header=False, separator=" ")


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak resident gigabytes of a child process."""
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e9


def largest_difference(ours: Path, theirs: Path) -> float:
    """The largest difference of the scores at each rank; infinite where the queries or the numbers of hits differ."""
    one, other = read_run_table(ours), read_run_table(theirs)
    order = np.argsort(one.qids), np.argsort(other.qids)
    one, other = one.taken(order[0]), other.taken(order[1])
    if one.qids != other.qids or (one.starts != other.starts).any():
        return float("inf")
    return float(np.abs(one.scores - other.scores).max())


if __name__ == "__main__":
    sys.exit(main())
