"""The result of a run: the best weights in a plain folder, its curves, its model card and its encoder card."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import ValidationError

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.data.validation_set import ValidationSet
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.models.poolings import POOLINGS
from pyserini_tasb.models.pretrained import without_progress_bar
from pyserini_tasb.models.sentence_transformers_folder import (
    FLAGS,
    make_tokenizer_plain,
    write_sentence_transformers_files,
)
from pyserini_tasb.models.tokenizers import load_tokenizer, longest_text
from pyserini_tasb.recipes.lookup import ENCODER_PREFIX, encoder_card, encoder_cards, own_folder, user_folder
from pyserini_tasb.recipes.types import EncoderCard, PublishedNumber, Strict
from pyserini_tasb.results import Result
from pyserini_tasb.training.checkpoints import CURVES, METRICS, MODEL, VERSIONS, resolved, versions
from pyserini_tasb.training.curves import draw_curves
from pyserini_tasb.training.journal import read_metrics
from pyserini_tasb.training.model_card import Number, Provenance, write_encoder_model_card
from pyserini_tasb.training.teacher_vectors import VectorTeacher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyserini_tasb.training.assembly import Assembly
    from pyserini_tasb.training.config import RunConfig, TrainConfig
    from pyserini_tasb.training.loop import Trainer
    from pyserini_tasb.training.students import DualEncoder


LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """A finished training run. Wherever a path is taken, it stands for its model's folder.

    Attributes:
        model: the model's folder.
        folder: the run's folder.
        metrics: measure → value of the model on the validation set; empty without one.
        best_step: the step of the model, with a validation set.
        steps: the number of the optimiser's steps, including earlier calls.
        seconds: the training time, including earlier calls.
        ended_by: `max_steps` or `early stopping`.
        first: whether this process, of all that trained together, wrote the files.
    """

    model: Path
    folder: Path
    metrics: Mapping[str, float]
    best_step: int | None
    steps: int
    seconds: float
    ended_by: str
    first: bool = field(default=True, repr=False)

    def __fspath__(self) -> str:
        return str(self.model)

    @property
    def summary(self) -> str:
        """The end of the run, and the best evaluation, as text."""
        lines = [f"{self.steps:,} steps in {self.seconds:,.0f} s; ended by {self.ended_by}"]
        lines += [f"best {measure} {value:.4f} at step {self.best_step:,}" for measure, value in self.metrics.items()]
        return "\n".join(lines)


OUTCOME = "outcome.json"


def saved(config: RunConfig, parts: Assembly[Any], trainer: Trainer) -> dict[str, Any]:
    """The part of a result that every run has, by the names of `RunResult`; it is kept in the run's folder.

    Raises:
        TasbError: the disk refuses.
    """
    best = trainer.stopping
    about = {
        "metrics": {} if best.best_value is None else {config.validation.measure: best.best_value},
        "best_step": best.best_step,
        "steps": trainer.done,
        "seconds": trainer.seconds,
        "ended_by": trainer.ended_by,
    }
    if parts.processes.first:
        content = {"config": _compared(config), "outcome": about}
        write_whole(config.output / OUTCOME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return about


def saved_outcome(config: RunConfig) -> dict[str, Any] | None:
    """The saved result of a finished run with this configuration; None if no such run exists."""
    known = read_sidecar(config.output / OUTCOME)
    if known.get("config") != _compared(config) or not (config.output / MODEL).is_dir():
        return None
    try:
        outcome = _Outcome.model_validate(known.get("outcome"))
    except ValidationError:  # damaged: the run goes on from its last step, and writes it again
        return None
    LOG.info("%s: trained before", config.output)
    return outcome.model_dump()


class _Outcome(Strict):
    metrics: dict[str, float]
    best_step: int | None
    steps: int
    seconds: float
    ended_by: Literal["max_steps", "early stopping"]


def _compared(config: RunConfig) -> Any:
    """A configuration as it is read back; without the folder, which may have been moved."""
    return json.loads(json.dumps({key: value for key, value in resolved(config).items() if key != "output"}))


def write_student(config: TrainConfig, parts: Assembly[DualEncoder], trainer: Trainer) -> Path:
    """Write the best model and its cards; return where the encoder card is."""
    model, best = parts.student.model, load_best(parts, trainer)
    # A new one: the one that training used remembers its last truncation.
    tokenizer, card = load_tokenizer(parts.student.folder), _card(config, trainer, best)
    longest = longest_text(tokenizer, model.transformer)
    make_tokenizer_plain(tokenizer)
    with model_folder(config.output, tokenizer) as folder:
        with without_progress_bar():
            model.transformer.save_pretrained(folder)
        if card.pooling in FLAGS:
            write_sentence_transformers_files(folder, card, dimension=model.dimension, longest=longest)
        else:
            LOG.info(
                "sentence-transformers has no pooling like %s: it would average this model's tokens, and the scores "
                "would be wrong",
                card.pooling,
            )
    written = provenance(parts, trainer, config.student.model, best)
    write_encoder_model_card(config.output / MODEL, card, written, dimension=model.dimension)
    return write_encoder_card(card)


def _card(config: TrainConfig, trainer: Trainer, best: int) -> EncoderCard:
    student = config.student
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
        model=str((config.output / MODEL).resolve()),
        pooling=student.pooling,
        normalise=student.normalise,
        query_prefix=student.query_prefix,
        passage_prefix=student.passage_prefix,
        published=published,
    )


def load_best(parts: Assembly[Any], trainer: Trainer) -> int:
    """Give the model its weights of the best evaluation, without a validation set of the last step; return the step."""
    best = trainer.done if trainer.stopping.best_step is None else trainer.stopping.best_step
    parts.student.model.load_state_dict(trainer.checkpoints.read(best).model)
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


def provenance(parts: Assembly[Any], trainer: Trainer, base_model: str, best: int) -> Provenance:
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
        parameters=without_folders(
            {"steps trained": trainer.done, **resolved(config), "versions": versions(parts.processes.world)}
        ),
        numbers=_numbers(parts, trainer, validation, baseline),
        curves=CURVES,
    )


def without_folders(values: Any) -> Any:
    """The same with file names instead of paths, which must not be published with a model."""
    if isinstance(values, dict):
        return {key: without_folders(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_folders(value) for value in values]
    if not isinstance(values, str):
        return values
    prefix = ENCODER_PREFIX if values.startswith(ENCODER_PREFIX) else ""
    path = Path(values.removeprefix(prefix))
    return f"{prefix}{path.name}" if path.is_absolute() or path.parts[:1] == ("~",) else values


def _data(parts: Assembly[Any], validation: ValidationSet | None) -> dict[str, Any]:
    manifest = {key: value for key, value in parts.store.manifest.items() if key not in {"files", "format", "version"}}
    data: dict[str, Any] = {"pair store": manifest}
    if isinstance(parts.teacher, VectorTeacher):
        data["in-batch teacher's vectors"] = parts.teacher.description
    return data if validation is None else data | {"validation set": validation.description}


def _numbers(
    parts: Assembly[Any], trainer: Trainer, validation: ValidationSet | None, baseline: float | None
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


def check_card_name(name: str, model_folder: Path) -> Path:
    """Where `write_encoder_card` will put the card. Call it before training: afterwards is late to hear of a mistake.

    Raises:
        TasbError: `name` cannot be a card's; this package ships a card of that name; the user has one, for another
            model, or one with `name` for an alias; or the user's folder cannot be written to.
    """
    _require_name(name)
    path = user_folder("encoders") / f"{name}.yaml"
    shipped = own_folder("encoders") / path.name
    if shipped.exists():
        raise _taken(name, f"the encoder of that name that comes with pyserini-tasb ({shipped})")
    if path.exists():
        model = encoder_card(str(path)).model
        if Path(model).resolve() != model_folder.resolve():
            raise _taken(name, f"the card {path}, whose model is {model}")
    for other in encoder_cards().values():
        if name in other.aliases:
            raise _taken(name, f"an alias of `tasb:{other.name}`")
    _require_writable(path.parent)
    return path


# Also when they are the defaults: they are what a reader looks for or changes.
SHOWN_ALWAYS = ("name", "model", "pooling", "normalise", "query_max_length", "passage_max_length")


def write_encoder_card(card: EncoderCard) -> Path:
    """Write a model's card into the user's folder of encoders; return its path.

    Another goes into the model's folder, `MODEL/NAME.yaml`, and moves with it: `--encoder tasb:MODEL/NAME.yaml` works
    wherever the folder is. Cards written before for the same model are replaced.

    Args:
        card: its `model` is the folder that `save_pretrained` wrote; its token caps are those of search.

    Raises:
        TasbError: as `check_card_name`, or the disk refuses; cards that were there before still are.
    """
    folder = Path(card.model).resolve()
    path = check_card_name(card.name, folder)
    if ":" not in card.pooling and not POOLINGS.is_own(card.pooling):
        LOG.warning(
            "the card %s names the pooling %s, which only programs that register it can read: move the pooling into a "
            "module, and name it module:name",
            path,
            card.pooling,
        )
    write_whole(folder / path.name, _as_yaml(card.model_copy(update={"model": "."})))
    write_whole(path, _as_yaml(card.model_copy(update={"model": str(folder)})))
    return path


def _as_yaml(card: EncoderCard) -> str:
    values = card.model_dump(mode="json")
    shown = {
        key: values[key]
        for key, field in EncoderCard.model_fields.items()
        if key in SHOWN_ALWAYS or getattr(card, key) != field.get_default()
    }
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)
    return f"# Written by `tasb train`; every key is explained in encoders/README.md of pyserini-tasb.\n{text}"


def _require_name(name: str) -> None:
    try:
        EncoderCard(name=name, model=".")
        is_name = not name.endswith((".yaml", ".yml"))  # `tasb:….yaml` is a card's path
    except ValidationError:
        is_name = False
    if not is_name:
        like = re.sub(r"\.ya?ml$", "", re.sub(r"[^a-z0-9._+-]+", "-", name.lower())).strip("._+-")
        raise TasbError(
            expected="a name of small letters, digits and any of . _ + - (first a letter or digit), not a file's",
            found=f"`{name}`",
            do=f"set `name` to something like `{like or 'my-model'}`",
        )


def _taken(name: str, by: str) -> TasbError:
    return TasbError(
        expected=f"a name without an encoder yet, for `--encoder tasb:{name}`",
        found=by,
        do="choose another `name`, or remove that card",
    )


def _require_writable(folder: Path) -> None:
    with os_errors_explained(
        folder,
        expected="a folder that an encoder card can be written to",
        do="fix the folder or its disk, or set PYSERINI_TASB_HOME to another folder",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("no permission to write there")
