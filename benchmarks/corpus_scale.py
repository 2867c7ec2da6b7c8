"""Memory and throughput of `tasb encode` as a corpus grows, beside stock `pyserini.encode`; exits with 1 over a limit.

    python benchmarks/corpus_scale.py                                # 10K, 100K and 1M synthetic passages
    python benchmarks/corpus_scale.py --sizes 10000 100000
    python benchmarks/corpus_scale.py --quick                        # 2K and 20K

Synthetic passages of MS MARCO's lengths, and a model so small that the rest is what is seen: its speed is not that of
TAS-B. Memory is resident, that of all processes together, looked at ten times a second. Vectors end as a Faiss index.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import Options, Results

MODEL = Path(__file__).parents[1] / "tests" / "data" / "tiny-tasb"
DIMENSION = 32
SIZES = (10_000, 100_000, 1_000_000)
GROWTH_MEBIBYTES = 300.0  # from the second largest corpus to the largest
WORDS_PER_PASSAGE = 56.0
SECONDS_BETWEEN_LOOKS = 0.1
COLUMNS = {"passages/s": ",.0f", "peak MiB": ",.0f", "bytes/passage": ",.0f", "index only": ",.0f"}
# Seconds on the machine of `measuring.PROBES`: of a process until it encodes, and of a passage.
STARTING, OURS, THEIRS = 8, 1.5e-4, 5e-4


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"sizes": [2_000, 20_000], "pyserini_up_to": 20_000})
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N", help="passages")
    parser.add_argument("--without-pyserini", action="store_true", help="measure ours only")
    parser.add_argument("--pyserini-up-to", type=int, default=100_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for all files, which are removed; default: the system's")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    theirs = [] if arguments.without_pyserini else [n for n in arguments.sizes if n <= arguments.pyserini_up_to]
    results.expect(
        f"{len(arguments.sizes)} corpora of {sum(arguments.sizes):,} passages together",
        python=STARTING * (len(arguments.sizes) + len(theirs)) + sum(arguments.sizes) * OURS + sum(theirs) * THEIRS,
    )
    peaks = []
    for size in sorted(arguments.sizes):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            corpus = write_corpus(Path(folder) / "corpus.jsonl", size)
            row = measure(ours(corpus), Path(folder) / "ours", size)
            results.rows[f"tasb encode, {size:,}"] = row
            peaks.append(row["peak MiB"])
            if size in theirs:
                results.rows[f"pyserini.encode, {size:,}"] = measure(stock(corpus), Path(folder) / "stock", size)
    if len(peaks) > 1:
        growth = peaks[-1] - peaks[-2]
        results.floor("tasb encode, MiB more for the largest corpus", growth, most=GROWTH_MEBIBYTES)
    return results.finish()


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


def measure(arguments: list[str], output: Path, passages: int) -> dict[str, float]:
    """Run it to the end; its speed, the peak of its memory, bytes on disk."""
    start, peak, before = time.perf_counter(), 0.0, 0.0
    with (output.parent / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *arguments, str(output)], stdout=log, stderr=log)
        while process.poll() is None:
            now = resident_mebibytes(process.pid)
            # Seen twice in a row: a child that has not yet replaced its parent's program shows that one's memory again.
            peak, before = max(peak, min(before, now)), now
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {(output.parent / 'log').read_text()[-1000:]}")
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    index = sum((next(output.rglob(name))).stat().st_size for name in ("index", "docid"))
    shutil.rmtree(output)
    return {
        "passages/s": passages / seconds,
        "peak MiB": peak,
        "bytes/passage": size / passages,
        "index only": index / passages,
    }


def resident_mebibytes(process: int) -> float:
    """The sum over a process and all that it started; what ended meanwhile counts as nothing."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
    return own + sum(resident_mebibytes(int(child)) for child in children)


if __name__ == "__main__":
    sys.exit(main())
