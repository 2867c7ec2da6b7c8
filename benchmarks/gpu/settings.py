"""An encoder card and a training configuration without pydantic, which a machine with only torch does not have.

All their keys are written out in card.yaml and paper.yaml, because nothing fills in defaults here. A test compares both
files, key by key, with the classes that users' own files are checked by.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


class Settings:
    """Nested keys and values as attributes.

    Args:
        values: key → value; a value may be a dict.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        for key, value in values.items():
            setattr(self, key, Settings(value) if isinstance(value, dict) else value)

    @property
    def model_fields_set(self) -> set[str]:
        """All keys: each of them is meant as it is."""
        return set(self.values)

    def model_copy(self, *, update: dict[str, Any]) -> Settings:
        """A copy with some other values."""
        return Settings(self.values | update)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """The values as they stand in YAML."""
        return self.values


def encoder_card(model: Path | str, **changes: Any) -> Settings:
    """A card of a model that works as TAS-B does, with the paper's lengths: 30 tokens of a query, 200 of a passage."""
    return Settings(_read("card.yaml") | {"model": str(model)} | changes)


def training_configuration(**changes: Any) -> Settings:
    """The paper's configuration; `section__key=value` replaces one of its values."""
    values = _read("paper.yaml")
    for name, value in changes.items():
        *sections, key = name.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        if key not in inner:
            raise KeyError(name)
        inner[key] = value
    settings = Settings(copy.deepcopy(values))
    # What the classes with pydantic compute of other keys, or make paths of.
    settings.RESCALE = "teacher.rescale"
    settings.output = Path(values["output"])
    settings.pairs_per_step = values["batch_size"] * values["accumulate"] * values["sampling"]["negatives"]
    settings.loss.needs_teacher = values["loss"]["in_batch"] is not None
    settings.data.pairs = Path(values["data"]["pairs"])
    settings.data.clusters_file = Path(values["data"]["clusters"])
    return settings


def _read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return values
