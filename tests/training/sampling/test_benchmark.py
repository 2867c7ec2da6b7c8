"""benchmarks/sampler.py, small: whether it runs and judges; how fast this machine is does not matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pyserini_tasb.training.sampling import SAMPLINGS

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "sampler.py"
SMALL = ["--queries", "3000", "--pairs", "20", "--clusters", "30", "--seconds", "0.2"]


def test_benchmark(tmp_path):
    output = tmp_path / "sampler.json"
    command = [sys.executable, BENCHMARK, *SMALL, "--folder", tmp_path, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(output.read_text())
    rates = {strategy: row["batches/s"] for strategy, row in found["rows"].items()}
    assert rates.keys() == set(SAMPLINGS)
    too_slow = any(rate < 2_000 for rate in rates.values())
    assert done.returncode == too_slow, done.stderr
    assert ("MISSED: batches a second" in done.stdout) == too_slow
    assert list(tmp_path.iterdir()) == [output]
