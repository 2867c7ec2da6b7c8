"""`README.md` of a model's folder: what the model is, what it was trained on and how, and how to use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__
from pyserini_tasb.train.report.model_card_template import ENCODER, TEACHER
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pyserini_tasb.recipes import EncoderCard

TAGS = ("tas-b", "passage-retrieval", "pyserini")
USUAL_DIMENSION = 768  # other vectors need --dimension


@dataclass(frozen=True)
class Number:
    """A measured value.

    Args:
        of: what was measured, e.g. `this model (step 24,000)`, `before training`, `baseline run`.
        on: what it was measured on, e.g. `validation set, 3,200 queries`.
        measure: by its ir-measures name.
        value: of the measure.
    """

    of: str
    on: str
    measure: str
    value: float


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Args:
        base_model: what training began with: a folder, a hub id, or `pkg:PACKAGE/FOLDER`.
        data: what it was trained on, as label → value; shown as they stand, nested ones as `outer.inner`.
        parameters: how it was trained, likewise.
        numbers: what was measured.
        licence: the hub's name of it, e.g. `apache-2.0`; without it the card names none.
        curves: the file in the model's folder with the picture of the curves.
    """

    base_model: str
    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    numbers: Sequence[Number] = ()
    licence: str | None = None
    curves: str | None = None


def write_encoder_model_card(folder: Path, card: EncoderCard, provenance: Provenance, *, dimension: int) -> Path:
    """Write `folder/README.md` in the form of the Hugging Face hub; return its path.

    The same input gives the same bytes: there is no date in it.

    Args:
        folder: the model's.
        card: its encoder card: name, description, and how texts become vectors.
        provenance: where it comes from.
        dimension: of a vector.

    Raises:
        TasbError: the disk refuses; what was there before is there still.
    """
    metadata = _metadata(provenance, "feature-extraction", "dense-retrieval", "sentence-transformers")
    return _write(folder, ENCODER, provenance, metadata=metadata, card=card, dimension=dimension)


def write_teacher_model_card(
    folder: Path, provenance: Provenance, *, name: str, description: str, what: str, commands: Sequence[str]
) -> Path:
    """As `write_encoder_model_card`, of a teacher.

    Args:
        folder: the model's.
        provenance: where it comes from.
        name: of the run that made it.
        description: in a sentence, or empty.
        what: how it scores, in a sentence.
        commands: what uses it.
    """
    metadata = _metadata(provenance, "text-ranking", "re-ranking")
    card = {"name": name, "description": description}
    return _write(folder, TEACHER, provenance, metadata=metadata, card=card, what=what, commands=commands)


def _write(folder: Path, template: str, provenance: Provenance, **values: object) -> Path:
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: there is nothing to escape for a browser here.
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters |= {"cell": _cell, "repr": repr}
    text = environment.from_string(
        template, globals={"usual_dimension": USUAL_DIMENSION, "version": __version__}
    ).render(
        base=_shown_base(provenance.base_model),
        numbers=provenance.numbers,
        curves=provenance.curves,
        tables={"Data": _flat(provenance.data), "Parameters": _flat(provenance.parameters)},
        **values,
    )
    path = folder / "README.md"
    write_whole(path, text + "\n")
    return path


def _metadata(provenance: Provenance, task: str, *tags: str) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=provenance.licence,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, *tags],
        base_model=provenance.base_model if _is_hub_id(provenance.base_model) else None,
    )
    return data.to_yaml().strip()


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None and not Path(model).exists()


def _shown_base(model: str) -> str:
    if _is_hub_id(model):
        return f"[{model}](https://huggingface.co/{model})"
    # A card is made to be passed on: folders of this machine mean nothing elsewhere.
    return f"`{model if model.startswith('pkg:') else Path(model).name}`"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _cell(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(item) for item in value)
    return " ".join(str(value).split()).replace("|", r"\|")
