"""benchmarks/sampler.py, small: whether it runs and judges; how fast this machine is does not matter here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pyserini_tasb.training.sampling import SAMPLINGS

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "sampler.py"
SMALL = ["--queries", "3000", "--pairs", "20", "--clusters", "30", "--seconds", "0.2"]


def test_benchmark(tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARK, *SMALL, "--folder", tmp_path], capture_output=True, text=True, check=False
    )
    rates = dict(re.findall(r"^(\S+) +([\d,]+) batches of 32 per second$", done.stdout, re.MULTILINE))
    assert rates.keys() == set(SAMPLINGS)
    too_slow = any(int(rate.replace(",", "")) < 2_000 for rate in rates.values())
    assert done.returncode == too_slow, done.stderr
    assert ("below 2,000" in done.stderr) == too_slow
    assert not list(tmp_path.iterdir())
