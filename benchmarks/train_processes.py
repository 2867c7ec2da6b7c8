"""Training steps a second by two processes of `torchrun`, with half of the threads each, against one process with all.

    python benchmarks/train_processes.py --quick
    python benchmarks/train_processes.py --corpus collection.tsv --topics queries.tsv

Same batches, MiniLM, fp32, pairwise Margin-MSE, the model's dropout; each way in processes of its own, by turns. The
memory is that of the largest process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from measuring import Options, Results, by_turns, spread, times
from real_texts import add_text_options
from train_speed import PAIR, STARTING, build_pairs, configuration

if TYPE_CHECKING:
    import argparse

COLUMNS = {"s/step": ".2f", "times one process": ".2f", "peak MB": ".0f"}


def main() -> int:
    parser = Options(__file__, __doc__, quick={"steps": 6, "rounds": 1, "batch_size": 16, "max_length": 96})
    add_text_options(parser)
    parser.add_argument("--steps", type=int, default=8, help="steps of each run; the first two are not counted")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128, help="token cap of queries and passages")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    cores = len(os.sched_getaffinity(0))
    ways = {f"1 process, {cores} threads": (1, cores)}
    if cores == 1:
        results.skip("two processes", "one core")
    else:
        ways[f"2 processes, {cores // 2} threads each"] = (2, cores // 2)
        ways[f"1 process, {cores // 2} threads"] = (1, cores // 2)
    runs = len(ways) * arguments.rounds
    results.expect(
        f"{runs} runs of {arguments.steps} steps of {arguments.batch_size} pairs",
        matrices=PAIR["fp32"] * 0.6 * runs * arguments.steps * arguments.batch_size,
        python=STARTING * runs,
    )
    with tempfile.TemporaryDirectory() as folder:
        build_pairs(arguments, Path(folder))
        measured = by_turns(
            {name: lambda way=way: run(arguments, Path(folder), *way) for name, way in ways.items()}, arguments.rounds
        )
    first = next(iter(measured))
    medians = {name: [statistics.median(each["seconds"]) for each in of_way] for name, of_way in measured.items()}
    for name, of_way in measured.items():
        results.rows[name] = {
            "s/step": spread(medians[name]),
            "times one process": times(medians[first], medians[name]),
            "peak MB": max(each["peak"] for each in of_way) / 2**20,
        }
    return results.finish()


def run(arguments: argparse.Namespace, folder: Path, processes: int, threads: int) -> dict:
    """One training: seconds of the counted steps, and the peak memory of its largest process in bytes."""
    output = Path(tempfile.mkdtemp(dir=folder)) / "run"
    config = configuration(arguments, folder, output, "fp32", None) | {"max_steps": arguments.steps, "device": "cpu"}
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command += ["--nproc-per-node", str(processes), "-m"]
    environment = os.environ | {
        "PYSERINI_TASB_HOME": str(output.parent / "home"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "pyserini_tasb", "train", str(path)], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)  # of the largest among it and all that it waited for
    if status:
        raise SystemExit((folder / "log").read_text())
    ends = [json.loads(line)["seconds"] for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {"seconds": np.diff(ends)[1:].tolist(), "peak": usage.ru_maxrss * 1024}


if __name__ == "__main__":
    sys.exit(main())
