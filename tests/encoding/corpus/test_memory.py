"""Memory does not grow with the corpus: a smaller version of what benchmarks/corpus_scale.py measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
# Between two words, so that it takes memory wherever texts are held, and no time where they are encoded.
GAP = " " * 20_000
MEBIBYTES_OF_TEXT = 20


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import corpus_scale

    peaks = []
    for size in (200, 1_250):
        corpus = tmp_path / f"{size}.tsv"
        corpus.write_text("".join(f"{number}\ta{GAP}tree\n" for number in range(size)))
        options = [*corpus_scale.ours(corpus)[:-1], "--unit-size", "40", "--output"]
        peaks.append(corpus_scale.measure(options, tmp_path / f"{size}", size)["peak MiB"])
    assert corpus.stat().st_size > MEBIBYTES_OF_TEXT * 2**20
    assert peaks[0] > 200  # a process with torch in it was seen
    assert peaks[1] < peaks[0] + MEBIBYTES_OF_TEXT / 2


def test_the_benchmark(tmp_path):
    output = tmp_path / "scale.json"
    command = [sys.executable, BENCHMARKS / "corpus_scale.py", "--sizes", "50", "--without-pyserini"]
    done = subprocess.run([*command, "--output", output], capture_output=True, text=True, check=True)
    assert "\ntasb encode, 50 " in done.stdout
    measured = json.loads(output.read_text())
    row = measured["rows"]["tasb encode, 50"]
    assert row["bytes/passage"] > row["index only"] > 128
    assert measured["floors"] == []  # one size does not grow
