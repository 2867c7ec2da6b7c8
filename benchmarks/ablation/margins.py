"""What the teacher in the batch says of batches, by how they were sampled, and whether another model agrees.

    python benchmarks/ablation/margins.py STUDY.yaml

A margin is the score of a query with its own positive less that with a passage of another query (Eq. 7). Within random
batches they tell topics apart, within TAS batches passages of one topic. Run it in the folder of the ablation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from pyserini_tasb.pipelines.study.config import StudyConfig
from pyserini_tasb.pipelines.study.grid import grid
from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.train.assembly import Assembly, assemble
from pyserini_tasb.train.distributed import Processes
from pyserini_tasb.train.sampling import training_batches

TEACHERS = {"ColBERT": "colbert/model", "MiniLM": "tasb:minilm"}
SAMPLINGS = ("random", "tas", "tas-balanced")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--batches", type=int, default=25, help="default: %(default)s")
    arguments = parser.parse_args()
    columns = [f"{name}: {what}" for name in TEACHERS for what in ("deviation of mean", "not above 0")]
    print(f"{'sampling':14}", *(f"{column:>26}" for column in columns), f"{'r within a batch':>18}")
    for sampling in SAMPLINGS:
        margins = {name: margins_of(arguments, sampling, teacher) for name, teacher in TEACHERS.items()}
        shown = []
        for batches in margins.values():
            together = np.concatenate(batches)
            shown += [f"{together.std() / together.mean():26.1%}", f"{np.mean(together <= 0):26.2%}"]
        agreement = np.mean([np.corrcoef(*both)[0, 1] for both in zip(*margins.values(), strict=True)])
        print(f"{sampling:14}", *shown, f"{agreement:18.3f}")


def margins_of(arguments: argparse.Namespace, sampling: str, teacher: str) -> list[np.ndarray]:
    """Of each batch, off the diagonal."""
    cells = [{"levels": {"teachers": ["in-batch"], "sampling": [sampling]}, "seeds": [1]}]
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"output={folder}", f"cells={cells}", f"train.teacher.in_batch={teacher}"]
        (cell,) = grid(load_recipe(arguments.study, StudyConfig, settings))
        return batch_margins(assemble(cell.config, Processes()), arguments.batches)


def batch_margins(parts: Assembly, count: int) -> list[np.ndarray]:
    """[2 x b x (b - 1)] of each of the first `count` batches."""
    batches = training_batches(parts.store, parts.sampler, parts.tokenising, start=0, stop=count, workers=0, ahead=1)
    found = []
    for batch in batches:
        scores = parts.teacher.in_batch(batch)
        own, others = scores.positives.diagonal()[:, None], ~np.eye(len(batch.queries), dtype=bool)
        found.append(
            np.concatenate([(own - scores.positives).numpy()[others], (own - scores.negatives).numpy()[others]])
        )
    return found


if __name__ == "__main__":
    main()
