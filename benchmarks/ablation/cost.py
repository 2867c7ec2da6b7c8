"""What each supervision adds to a training sample's cost, as the paper's Table 2 asks; measured.

    python benchmarks/ablation/cost.py STUDY.yaml --cat cat/model

Takes the study's own training configurations, for each level of `teachers` and `batch`, and does one step of each by
turns, in one process, sampling and tokenising included. A sample is a query with two passages. BERT_CAT scores them
once, before training; with --cat that is timed in the same turns. Run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.assembly import assemble
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.step import Stepper
from pyserini_tasb.training.study_config import StudyConfig, grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserini_tasb.training.config import TrainConfig


NAMES = {
    "none": "labels only (RankNet)",
    "pairwise": "pairwise, scores from the store",
    "in-batch": "{} in the batch",
    "both": "both",
}
CAT = "BERT_CAT's two scores, once"
CAT_OPTIONS = ScoringOptions(precision="bf16", max_length=160)  # those of run.py


class Training:
    """A training run that is timed step by step."""

    def __init__(self, config: TrainConfig) -> None:
        self.parts = assemble(config, Processes())
        self._stepper = Stepper(self.parts, self.parts.measured_margins())
        self._batches = training_batches(
            self.parts.store, self.parts.sampler, self.parts.tokenising, start=0, stop=None, workers=0, ahead=1
        )
        self._step, self.batch_size = 0, config.batch_size

    def seconds(self) -> float:
        """Of the next step."""
        began = time.perf_counter()
        self.batch = next(self._batches)
        self._stepper.run(self._step, [self.batch])
        self._step += 1
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument(
        "--in-batch", default="ColBERT", metavar="NAME", help="the in-batch teacher, for readers (default: %(default)s)"
    )
    parser.add_argument("--cat", help="BERT_CAT's folder")
    parser.add_argument("--rounds", type=int, default=6, help="the first one is not counted (default: %(default)s)")
    arguments = parser.parse_args()
    lines = []
    for batch in load_recipe(arguments.study, StudyConfig).axes["batch"]:
        with tempfile.TemporaryDirectory() as folder:
            lines += measured(arguments, batch, folder)
    print(markdown_table(["supervision", "batch", "ms a sample", "of labels only"], lines))


def measured(arguments: argparse.Namespace, batch: str, folder: str) -> list[list[str]]:
    """Lines of the table for one size of a batch."""
    cells = [{"levels": {"teachers": list(NAMES), "sampling": ["random"], "batch": [batch]}, "seeds": [1]}]
    settings = [f"output={folder}", "train.workers=0", f"cells={cells}"]
    study = load_recipe(arguments.study, StudyConfig, settings)
    runs = {cell.levels[list(study.axes).index("teachers")]: Training(cell.config) for cell in grid(study)}
    timed = [(name, run.seconds) for name, run in runs.items()]
    if arguments.cat:
        timed.append((CAT, scoring_of(arguments.cat, runs["none"])))
    seconds: dict[str, list[float]] = {name: [] for name, _ in timed}
    for number in range(arguments.rounds):
        first = number % len(timed)  # what comes behind the scoring finds caches that are not its own
        for name, measure in timed[first:] + timed[:first]:
            seconds[name].append(measure())
    counted = {name: times[1:] for name, times in seconds.items()}
    return [
        [
            NAMES.get(name, name).format(arguments.in_batch),
            batch.removeprefix("b"),
            f"{1000 * statistics.median(times) / runs['none'].batch_size:.3g}",
            f"{statistics.median(a / b for a, b in zip(times, counted['none'], strict=True)):.2f}",
        ]
        for name, times in counted.items()
    ]


def scoring_of(cat: str, training: Training) -> Callable[[], float]:
    """The seconds in which BERT_CAT scores the batch that was drawn last."""
    scorer, store = load_scorer(cat, CAT_OPTIONS), training.parts.store

    def seconds() -> float:
        drawn = training.batch
        began = time.perf_counter()
        scorer.score_pairs(
            store.queries, store.passages, np.tile(drawn.queries, 2), np.concatenate([drawn.positives, drawn.negatives])
        )
        return time.perf_counter() - began

    return seconds


if __name__ == "__main__":
    main()
