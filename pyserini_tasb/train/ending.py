"""What every run leaves behind: the best weights in a plain folder, its curves, and where the model comes from."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.train.report.curves import draw_curves
from pyserini_tasb.train.report.metrics_log import read_metrics
from pyserini_tasb.train.report.model_card import Number, Provenance
from pyserini_tasb.train.run_folder import CURVES, METRICS, MODEL, VERSIONS, resolved, versions
from pyserini_tasb.train.validation import ValidationSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.train.loop import Trainer
    from pyserini_tasb.train.trainable import Trainable


def load_best(parts: Trainable, trainer: Trainer) -> int:
    """Give the model its weights of the best evaluation, or without a validation set of the last step; which it is."""
    best = trainer.done if trainer.stopping.best_step is None else trainer.stopping.best_step
    parts.model.load_state_dict(trainer.checkpoints.read(best).model)
    return best


@contextmanager
def model_folder(output: Path, tokenizer: Any) -> Iterator[Path]:
    """A folder to save the model in, with its tokenizer; it takes its place in `output` at the end of the block."""
    folder = output / MODEL
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    yield beside
    tokenizer.save_pretrained(beside)
    for path in beside.rglob("*"):  # safetensors writes weights for their owner's eyes only
        if path.is_file():
            path.chmod((beside / "tokenizer_config.json").stat().st_mode)
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier ending of this run; its checkpoints can make it again
    beside.rename(folder)


def provenance(parts: Trainable, trainer: Trainer, base_model: str, best: int) -> Provenance:
    """Draw the curves, copy what belongs beside the model, and say where it comes from."""
    config = parts.config
    folder = config.output / MODEL
    validation = None if config.data.validation is None else ValidationSet(config.data.validation)
    baseline = None if validation is None else validation.baseline(config.validation.measure)
    draw_curves(config.output / METRICS, config.output / CURVES, title=config.name, baseline=baseline, best_step=best)
    for name in (CURVES, VERSIONS):
        shutil.copy2(config.output / name, folder / name)
    return Provenance(
        base_model=base_model,
        data=without_folders(_data(parts, validation)),
        parameters=without_folders({"steps trained": trainer.done, **resolved(config), "versions": versions()}),
        numbers=_numbers(parts, trainer, validation, baseline),
        curves=CURVES,
    )


def without_folders(values: Any) -> Any:
    """The same with file names in place of paths, which are nobody's business once a model is published."""
    if isinstance(values, dict):
        return {key: without_folders(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_folders(value) for value in values]
    return Path(values).name if isinstance(values, str) and Path(values).is_absolute() else values


def _data(parts: Trainable, validation: ValidationSet | None) -> dict[str, Any]:
    manifest = {key: value for key, value in parts.store.manifest.items() if key not in {"files", "format", "version"}}
    data: dict[str, Any] = {"pair store": manifest}
    return data if validation is None else data | {"validation set": validation.description}


def _numbers(
    parts: Trainable, trainer: Trainer, validation: ValidationSet | None, baseline: float | None
) -> list[Number]:
    best = trainer.stopping
    if validation is None or baseline is None or best.best_value is None:
        return []
    on, measure = f"validation set, {len(validation.queries):,} queries", parts.config.validation.measure
    evaluations = [record for record in read_metrics(parts.config.output / METRICS) if record["kind"] == "evaluation"]
    return [
        Number(f"this model (step {best.best_step:,})", on, measure, best.best_value),
        Number("before training", on, measure, evaluations[0]["value"]),
        Number("the run that the candidates come from", on, measure, baseline),
    ]
