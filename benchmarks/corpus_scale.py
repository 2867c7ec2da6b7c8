"""Memory and throughput of `tasb encode` as a corpus grows, beside stock `pyserini.encode`; exits with 1 over a limit.

    python benchmarks/corpus_scale.py                                # 10K, 100K and 1M synthetic passages
    python benchmarks/corpus_scale.py --sizes 10000 100000

Synthetic passages of MS MARCO's lengths, and a model so small that the rest is what is seen: its speed is not that of
TAS-B. Memory is resident, that of all processes together, looked at ten times a second. Vectors end as a Faiss index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MODEL = Path(__file__).parents[1] / "tests" / "data" / "tiny-tasb"
DIMENSION = 32
SIZES = (10_000, 100_000, 1_000_000)
GROWTH_MEBIBYTES = 300.0  # from the second largest corpus to the largest
WORDS_PER_PASSAGE = 56.0
SECONDS_BETWEEN_LOOKS = 0.1


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="passages")
    parser.add_argument("--without-pyserini", action="store_true", help="measure ours only")
    parser.add_argument("--pyserini-up-to", type=int, default=100_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("corpus_scale.json"), help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for all files, which are removed; default: the system's")
    arguments = parser.parse_args()
    rows = []
    for size in sorted(arguments.sizes):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            corpus = write_corpus(Path(folder) / "corpus.jsonl", size)
            rows.append({"program": "tasb encode", "passages": size, **measure(ours(corpus), Path(folder) / "ours")})
            if not arguments.without_pyserini and size <= arguments.pyserini_up_to:
                figures = measure(stock(corpus), Path(folder) / "stock")
                rows.append({"program": "pyserini.encode", "passages": size, **figures})
    return report(rows, arguments.output)


def write_corpus(path: Path, size: int) -> Path:
    """JSONL of `size` passages: words of the model's vocabulary, as many as MS MARCO's have, more or less."""
    words = [word for word in (MODEL / "vocab.txt").read_text().split() if word.isalpha()]
    randomness = np.random.default_rng(0)
    with path.open("w") as file:
        for number in range(size):
            count = int(np.clip(randomness.lognormal(np.log(WORDS_PER_PASSAGE) - 0.08, 0.4), 5, 250))
            text = " ".join(words[word] for word in randomness.integers(0, len(words), count))
            file.write(json.dumps({"id": f"{number}", "text": text}) + "\n")
    return path


def ours(corpus: Path) -> list[str]:
    """The arguments of Python for `tasb encode`; the output folder is still to be added."""
    options = ["--encoder", str(MODEL), "--corpus", str(corpus), "--output-format", "faiss", "--device", "cpu"]
    return ["-m", "pyserini_tasb", "encode", *options, "--max-length", "256", "--output"]


def stock(corpus: Path) -> list[str]:
    """The same for Pyserini's own command and encoder."""
    encoder = ["--encoder", str(MODEL), "--encoder-class", "auto", "--fields", "text", "--dimension", f"{DIMENSION}"]
    options = ["--batch-size", "64", "--max-length", "256", "--device", "cpu"]
    source = ["input", "--corpus", str(corpus), "--fields", "text"]
    return ["-m", "pyserini.encode", "encoder", *encoder, *options, *source, "output", "--to-faiss", "--embeddings"]


def measure(arguments: list[str], output: Path) -> dict[str, float | str]:
    """Run it to the end; seconds, the peak of its memory, bytes on disk."""
    start, peak, before = time.perf_counter(), 0.0, 0.0
    with (output.parent / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *arguments, str(output)], stdout=log, stderr=log)
        while process.poll() is None:
            now = resident_mebibytes(process.pid)
            # Seen twice in a row: a child that has not yet replaced its parent's program shows that one's memory again.
            peak, before = max(peak, min(before, now)), now
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        return {"failed": (output.parent / "log").read_text()[-1000:]}
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    index = sum((next(output.rglob(name))).stat().st_size for name in ("index", "docid"))
    shutil.rmtree(output)
    return {"seconds": time.perf_counter() - start, "peak_mebibytes": peak, "bytes": size, "index_bytes": index}


def resident_mebibytes(process: int) -> float:
    """Of a process and all that it started; what ended meanwhile counts as nothing."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
    return own + sum(resident_mebibytes(int(child)) for child in children)


def report(rows: list[dict[str, float | str]], output: Path) -> int:
    """Print what was measured; 1 if memory grows more than it may."""
    print(
        f"{'program':16} {'passages':>10} {'passages/s':>11} {'peak MiB':>9} {'bytes/passage':>14} {'index alone':>12}"
    )
    for row in rows:
        size = int(row["passages"])
        if "failed" in row:
            print(f"{row['program']:16} {size:>10,} failed: {row['failed']}")
            continue
        seconds, peak, disk, index = (
            float(row[name]) for name in ("seconds", "peak_mebibytes", "bytes", "index_bytes")
        )
        row["passages_per_second"], row["bytes_per_passage"] = size / seconds, disk / size
        print(
            f"{row['program']:16} {size:>10,} {size / seconds:>11,.0f} {peak:>9,.0f} {disk / size:>14,.0f} "
            f"{index / size:>12,.0f}"
        )
    growth = growth_of(rows)
    is_over = growth is None or growth > GROWTH_MEBIBYTES
    if growth is not None:
        print(
            f"tasb encode, growth to the largest: {growth:+,.0f} MiB (at most {GROWTH_MEBIBYTES:+,.0f})"
            f"{'  OVER' if is_over else ''}"
        )
    output.write_text(json.dumps({"rows": rows, "growth_mebibytes": growth}, indent=1) + "\n")
    return int(is_over and len({row["passages"] for row in rows}) > 1)


def growth_of(rows: list[dict[str, float | str]]) -> float | None:
    """How much more memory ours takes for the largest corpus than for the one before; None if there are not two."""
    peaks = [float(row["peak_mebibytes"]) for row in rows if row["program"] == "tasb encode" and "failed" not in row]
    return peaks[-1] - peaks[-2] if len(peaks) > 1 else None


if __name__ == "__main__":
    sys.exit(main())
