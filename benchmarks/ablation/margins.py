"""What models say of batches, by how they were sampled, and how far they agree with the teacher and with all-MiniLM.

    python benchmarks/ablation/margins.py STUDY.yaml [MODEL …]

A margin is the score of a query with its own positive less that with a passage of another query (Eq. 7). Within random
batches they tell topics apart, within TAS batches passages of one topic. Agreement is the correlation of margins within
a batch, on average over batches. Models are what `teacher.in_batch` takes, students among them. Run it in the folder of
the ablation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.assembly import Assembly, assemble
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.study_config import StudyConfig, grid

JUDGES = {"ColBERT": "colbert/model", "MiniLM": "tasb:minilm"}
SAMPLINGS = ("random", "tas")
COLUMNS = ("batches", "model", "deviation of mean", "not above 0", *(f"r with {judge}" for judge in JUDGES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--batches", type=int, default=25, help="default: %(default)s")
    arguments = parser.parse_args()
    models = JUDGES | {Path(model).stem: model for model in arguments.models}
    lines = []
    for sampling in SAMPLINGS:
        margins = {name: margins_of(arguments, sampling, model) for name, model in models.items()}
        for name, batches in margins.items():
            together = np.concatenate(batches)
            shown = [f"{together.std() / together.mean():.1%}", f"{np.mean(together <= 0):.2%}"]
            lines.append([sampling, name, *shown, *(agreement(batches, margins[judge]) for judge in JUDGES)])
    print(markdown_table(COLUMNS, lines))


def margins_of(arguments: argparse.Namespace, sampling: str, model: str) -> list[np.ndarray]:
    """Of each batch, off the diagonal."""
    cells = [{"levels": {"teachers": ["in-batch"], "sampling": [sampling]}, "seeds": [1]}]
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"output={folder}", f"cells={cells}", f"train.teacher.in_batch={model}"]
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


def agreement(mine: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    """The correlation within a batch, on average."""
    return f"{np.mean([np.corrcoef(*both)[0, 1] for both in zip(mine, theirs, strict=True)]):.3f}"


if __name__ == "__main__":
    main()
