"""The cells of a study: which training configurations, with which seeds, under which names."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import load_recipe, set_key
from pyserini_tasb.train.config import TrainConfig
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.pipelines.study.config import StudyConfig

TRAINING = "train.yaml"
SET_HERE = ("name", "output", "seed")


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' levels, with one seed.

    Args:
        levels: a level of every axis, in the order of the axes.
        seed: of training.
        folder: has all of it.
        config: its training.
    """

    levels: tuple[str, ...]
    seed: int
    folder: Path
    config: TrainConfig


def grid(study: StudyConfig) -> list[Cell]:
    """Every cell once, in the order of the configuration; its training configuration is written into its folder.

    Raises:
        TasbError: a key that the study itself sets, two axes that set one key, or a training configuration that is
            none; nothing has been trained then.
    """
    _require_free(study)
    wanted: dict[tuple[tuple[str, ...], int], None] = {}
    for selection in study.cells:
        levels = [selection.levels.get(axis) or [next(iter(named))] for axis, named in study.axes.items()]
        wanted |= dict.fromkeys(itertools.product(itertools.product(*levels), selection.seeds))
    return [_cell(study, levels, seed) for levels, seed in wanted]


def _cell(study: StudyConfig, levels: tuple[str, ...], seed: int) -> Cell:
    folder = study.output / "cells" / "+".join(levels) / f"seed-{seed}"
    values = copy.deepcopy(study.train)
    values |= {"name": f"{study.name}.{'+'.join(levels)}.{seed}", "output": str(folder / "run"), "seed": seed}
    setters: dict[str, str] = {}
    for axis, level in zip(study.axes, levels, strict=True):
        for key, value in study.axes[axis][level].items():
            if key in setters:
                raise TasbError(
                    where=f"axes.{axis}.{level}",
                    expected="axes that set different keys",
                    found=f"`{key}`, which axes.{setters[key]} sets, too",
                    do="leave it to one of them, or do not combine these two levels in `cells`",
                )
            setters[key] = f"{axis}.{level}"
            set_key(values, key, value)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_text_file(folder / TRAINING) as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)
    return Cell(levels, seed, folder, load_recipe(folder / TRAINING, TrainConfig))


def _require_free(study: StudyConfig) -> None:
    keys = [*study.train, *(key for axis in study.axes.values() for level in axis.values() for key in level)]
    taken = [key for key in SET_HERE if key in keys]
    if taken:
        raise TasbError(
            where=f"study {study.name}",
            expected=f"`train` and `axes` without {', '.join(SET_HERE)}: each cell has its own",
            found=", ".join(f"`{key}`" for key in taken),
            do="remove it; seeds stand in `cells`",
        )
