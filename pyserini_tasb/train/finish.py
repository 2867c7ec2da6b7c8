"""What a run leaves behind: a plain Hugging Face folder, its model card, its curves, and an encoder card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.recipes.types import EncoderCard, PublishedNumber
from pyserini_tasb.train.report.curves import draw_curves
from pyserini_tasb.train.report.encoder_card import write_encoder_card
from pyserini_tasb.train.report.metrics_log import read_metrics
from pyserini_tasb.train.report.model_card import Number, write_model_card
from pyserini_tasb.train.run_folder import CURVES, METRICS, MODEL, VERSIONS, resolved, versions
from pyserini_tasb.train.validation import ValidationSet

if TYPE_CHECKING:
    from pyserini_tasb.train.assembly import Assembly
    from pyserini_tasb.train.loop import Trainer


def finish(parts: Assembly, trainer: Trainer) -> tuple[EncoderCard, Path]:
    """Write the best model; return its card, and where the card is.

    The best is that of the best evaluation; without a validation set, the last.
    """
    config = parts.config
    best = trainer.done if trainer.stopping.best_step is None else trainer.stopping.best_step
    parts.student.model.load_state_dict(trainer.checkpoints.read(best).model)
    folder = _save_model(parts, config.output / MODEL)
    validation = None if config.data.validation is None else ValidationSet(config.data.validation)
    baseline = None if validation is None else validation.baseline(config.validation.measure)
    draw_curves(config.output / METRICS, config.output / CURVES, title=config.name, baseline=baseline, best_step=best)
    shutil.copy2(config.output / CURVES, folder / CURVES)
    card = _card(parts, trainer, folder, best)
    write_model_card(
        folder,
        card,
        base_model=config.student.model,
        dimension=parts.student.model.dimension,
        data=without_folders(_data(parts, validation)),
        parameters=without_folders({"steps trained": trainer.done, **resolved(config), "versions": versions()}),
        numbers=_numbers(parts, trainer, validation, baseline),
        curves=CURVES,
    )
    shutil.copy2(config.output / VERSIONS, folder / VERSIONS)
    return card, write_encoder_card(card)


def _save_model(parts: Assembly, folder: Path) -> Path:
    from transformers import AutoTokenizer

    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    parts.student.model.transformer.save_pretrained(beside)
    # A new one: the one that training used remembers its last truncation.
    AutoTokenizer.from_pretrained(str(parts.student.folder), trust_remote_code=False).save_pretrained(beside)
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier ending of this run; its checkpoints can make it again
    beside.rename(folder)
    return folder


def _card(parts: Assembly, trainer: Trainer, folder: Path, best: int) -> EncoderCard:
    config, student = parts.config, parts.config.student
    published: tuple[PublishedNumber, ...] = ()
    if trainer.stopping.best_value is not None:
        number = PublishedNumber(
            collection="validation set",
            measure=config.validation.measure,
            value=round(trainer.stopping.best_value, 4),
            source=f"tasb train, step {best}",
        )
        published = (number,)
    return EncoderCard(
        name=config.name,
        description=config.description or f"trained by tasb train from {without_folders(student.model)}",
        model=str(folder.resolve()),
        pooling=student.pooling,
        normalise=student.normalise,
        query_prefix=student.query_prefix,
        passage_prefix=student.passage_prefix,
        published=published,
    )


def _data(parts: Assembly, validation: ValidationSet | None) -> dict[str, Any]:
    manifest = {key: value for key, value in parts.store.manifest.items() if key not in {"files", "format", "version"}}
    data: dict[str, Any] = {"pair store": manifest}
    return data if validation is None else data | {"validation set": validation.description}


def without_folders(values: Any) -> Any:
    """The same with file names in place of paths, which are nobody's business once a model is published."""
    if isinstance(values, dict):
        return {key: without_folders(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_folders(value) for value in values]
    return Path(values).name if isinstance(values, str) and Path(values).is_absolute() else values


def _numbers(
    parts: Assembly, trainer: Trainer, validation: ValidationSet | None, baseline: float | None
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
