"""The costs of many machines: Ray's share of encoding, the merging of shards, one process's reading of a corpus.

    python benchmarks/scale.py                                       # 5 pairs of jobs of three minutes or more
    python benchmarks/scale.py --corpus collection.tsv
    python benchmarks/scale.py --quick                               # one pair of short jobs

* Ray: `tasb encode` with `--ray local` and without, by turns. Both use MiniLM and equal numbers of processes, with one
  thread each. The time runs from the end of the first unit to the end of the last, so the start is not part of it. The
  vectors must be the same bytes. Memory is resident, looked at four times a second.
* Merging: the hits of a query in 1 to 1,000 shards, from Ray's object store to one ranking, as `tasb search` and `tasb
  serve` merge them. The shards are simulated: random scores, docids of MS MARCO v2's length.
* Reading: the process that hands out the work reads the corpus once, by itself, before any other process begins.
* BM25: the size of Anserini's index without stored text.

benchmarks/plan.py calculates with these numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from measuring import Options, Results, by_turns, seconds_of, spread
from real_texts import add_text_options, passages

from pyserini_tasb.encoding.plan import plan_corpus
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.indexes.rankings import Ranking, merged
from pyserini_tasb.ray_cluster.joining import connected

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

COLUMNS = {
    "passages/s": ",.1f",
    "start and end s": ".1f",
    "worker MB": ",.0f",
    "others MB": ",.0f",
    "times plain": ".3f",
    "ms": ".3f",
    "KB": ",.0f",
    "bytes/passage": ",.1f",
}
OVERHEAD, LEAST_SECONDS = 0.15, 180  # judged with jobs of so long
UNITS = 20  # of each process
CALIBRATION = 512  # passages
SECONDS_BETWEEN_LOOKS = 0.25
SHARDS = (1, 10, 100, 1_000)
HITS = (10, 100, 1_000)
QUERIES = 2  # that are merged together
# Seconds on the machine of `measuring.PROBES`: of a job until its first unit ends, and of everything but jobs.
STARTING, REST = 25, 60


def main() -> int:
    parser = Options(__file__, __doc__, quick={"seconds": 12, "rounds": 1, "read": 50_000})
    add_text_options(parser, topics=False)
    parser.add_argument("--seconds", type=int, default=200, help="about how long a job computes; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of jobs; default: %(default)s")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--read", type=int, default=500_000, help="passages that are read; default: %(default)s")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    jobs = 2 * arguments.rounds
    results.expect(
        f"{jobs} jobs of {arguments.seconds} s or more, and merging",
        python=jobs * (arguments.seconds + STARTING) + REST,
    )
    texts = passages(arguments.corpus, 50_000)
    with tempfile.TemporaryDirectory() as folder:
        measure_encoding(arguments, texts, Path(folder), results)
        measure_merging(results)
        measure_reading(arguments.read, texts, Path(folder), results)
        measure_lucene(texts, Path(folder), results)
    return results.finish()


@dataclass(frozen=True)
class Job:
    """An encoding that has ended.

    Args:
        speed: passages a second, from the end of the first unit to the end of the last.
        around: seconds before and after that.
        worker: bytes of memory of the largest process that encodes.
        others: bytes of memory of all other processes together.
        vectors: a digest of all vectors.
    """

    speed: float
    around: float
    worker: int
    others: int
    vectors: str


def measure_encoding(arguments: argparse.Namespace, texts: list[str], folder: Path, results: Results) -> None:
    """Encode with Ray and without, by turns."""
    processes = arguments.processes
    corpus = write_corpus(folder / "first.jsonl", texts, CALIBRATION)
    calibrated = encode(corpus, folder / "first", processes, CALIBRATION // (4 * processes), [])
    # A job of some seconds is slower than a long one, and the first unit is not counted.
    count = int(calibrated.speed * arguments.seconds * 1.4)
    unit_size = max(16, -(-count // (UNITS * processes)))
    corpus = write_corpus(folder / "corpus.jsonl", texts, count)
    ways = {"encode": [], "encode --ray local": ["--ray", "local"]}
    found = by_turns(
        {
            way: lambda options=options: encode(corpus, folder / "vectors", processes, unit_size, options)
            for way, options in ways.items()
        },
        arguments.rounds,
    )
    plain, ray = found.values()
    for way, of_way in found.items():
        results.rows[f"{way}, {processes} processes"] = {
            "passages/s": spread([job.speed for job in of_way]),
            "start and end s": spread([job.around for job in of_way]),
            "worker MB": max(job.worker for job in of_way) / 1e6,
            "others MB": max(job.others for job in of_way) / 1e6,
            "times plain": spread([own.speed / job.speed for own, job in zip(plain, of_way, strict=True)]),
        }
    least = min(count / job.speed for job in [*plain, *ray])
    results.note(f"{count:,} passages in units of {unit_size:,}; the shortest job computed for {least:.0f} s")
    times = statistics.median(own.speed / job.speed for own, job in zip(plain, ray, strict=True))
    if least >= LEAST_SECONDS:
        results.floor("time on Ray, times that without", times, most=1 + OVERHEAD)
    results.floor("different vectors", len({job.vectors for job in [*plain, *ray]}) - 1, most=0)


def write_corpus(path: Path, texts: list[str], count: int) -> Path:
    """JSONL of so many passages; if there are fewer texts, they are repeated."""
    lines = (json.dumps({"id": f"{number}", "text": texts[number % len(texts)]}) for number in range(count))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def encode(corpus: Path, output: Path, processes: int, unit_size: int, options: list[str]) -> Job:
    """One encoding, in a command of its own."""
    command = [sys.executable, "-m", "pyserini_tasb", "encode", "--encoder", "tasb:minilm", "--corpus", str(corpus)]
    command += ["--output", str(output), "--backend", "torch", "--device", "cpu", "--quiet"]
    command += ["--processes", str(processes), "--unit-size", str(unit_size), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    memory = Memory()
    begin = time.time()
    with (corpus.parent / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            memory.look(process.pid)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    end = time.time()
    if process.returncode:
        raise SystemExit((corpus.parent / "log").read_text(encoding="utf-8"))
    files = sorted(output.glob("units/*.json"), key=lambda path: path.stat().st_mtime_ns)
    first, last = (path.stat().st_mtime for path in (files[0], files[-1]))
    count = sum(np.load(path.with_suffix(".npy"), mmap_mode="r").shape[0] for path in files[1:])
    digest = hashlib.sha256()
    for path in sorted(output.glob("units/*.npy")):
        digest.update(path.read_bytes())
    for path in sorted(output.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    output.rmdir()
    around = end - begin - (last - first)
    return Job(count / (last - first), around, memory.worker, memory.others, digest.hexdigest())


class Memory:
    """The memory that the processes of a job have had.

    Attributes:
        worker: the most that a process that encodes has had, in bytes.
        others: the most that all others have had together.
    """

    def __init__(self) -> None:
        self.worker = self.others = 0

    def look(self, process: int) -> None:
        """Look once."""
        others = 0
        try:
            family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for each in family:
            try:
                words, resident = " ".join(each.cmdline()), each.memory_info().rss
            except psutil.Error:  # it has ended
                continue
            if "EncodingActor" in words or "spawn_main" in words:
                self.worker = max(self.worker, resident)
            else:
                others += resident
        self.others = max(self.others, others)


def measure_merging(results: Results) -> None:
    """Merge what 1 to 1,000 shards found for the same queries."""
    import ray

    random = np.random.default_rng(0)
    with connected("local"):
        for hits in HITS:
            for shards in SHARDS:
                answers = [answer(shard, hits, random) for shard in range(shards)]
                results.rows[f"merge {hits:,} hits of {shards:,} shards"] = {
                    "ms": merging_seconds([ray.put(each) for each in answers], hits) / QUERIES * 1e3,
                    "KB": sum(size(each) for of_shard in answers for each in of_shard) / QUERIES / 1e3,
                }
                if not all(map(is_best, merge(answers, hits), zip(*answers, strict=True))):
                    results.floor(f"wrong merges of {shards:,} shards", 1, most=0)
    results.note("Merging: milliseconds and kilobytes for one query, in one thread, the best of three")


def merging_seconds(references: list[Any], hits: int) -> float:
    """The best of three."""
    import ray

    return min(seconds_of(lambda: merge(ray.get(references), hits)) for _ in range(3))


def answer(shard: int, hits: int, random: np.random.Generator) -> list[Ranking]:
    """The hits of the queries in one simulated shard."""
    docids = [f"msmarco_passage_{shard:03}_{number:08}" for number in random.integers(0, 10**8, hits)]
    scores = -np.sort(-random.normal(100, 5, (QUERIES, hits)).astype(np.float32), axis=1)
    return [Ranking(each, docids) for each in scores]


def merge(answers: Iterable[list[Ranking]], hits: int) -> list[Ranking]:
    """The rankings of all queries, merged like `RayShards.merge` merges them."""
    return [merged(each, hits) for each in zip(*answers, strict=True)]


def size(ranking: Ranking) -> int:
    """Bytes of scores and docids."""
    return ranking.scores.nbytes + sum(map(len, ranking.docids))


def is_best(found: Ranking, rankings: tuple[Ranking, ...]) -> bool:
    """True if the scores are the best of all."""
    scores = -np.sort(-np.concatenate([each.scores for each in rankings]))
    return bool(np.array_equal(found.scores, scores[: len(found)]))


def measure_reading(count: int, texts: list[str], folder: Path, results: Results) -> None:
    """The pre-pass over a corpus."""
    corpus = write_corpus(folder / "read.jsonl", texts, count)
    seconds = seconds_of(lambda: plan_corpus(Corpus([str(corpus)]), 16_384, str(corpus)))
    results.rows["reading a corpus"] = {"passages/s": count / seconds, "bytes/passage": corpus.stat().st_size / count}


def measure_lucene(texts: list[str], folder: Path, results: Results) -> None:
    """Index passages with Anserini; its size."""
    documents = folder / "documents"
    documents.mkdir()
    lines = (json.dumps({"id": f"{number}", "contents": text}) for number, text in enumerate(texts))
    (documents / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pyserini.index.lucene", "--collection", "JsonCollection"]
    command += ["--input", str(documents), "--index", str(folder / "bm25"), "--generator"]
    command += ["DefaultLuceneDocumentGenerator", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)
    total = sum(path.stat().st_size for path in (folder / "bm25").iterdir())
    results.rows["Lucene index of terms"] = {"bytes/passage": total / len(texts)}


if __name__ == "__main__":
    sys.exit(main())
