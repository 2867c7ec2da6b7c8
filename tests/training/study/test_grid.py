"""Which cells a configuration means, and what it may not say."""

from __future__ import annotations

import pytest
import yaml

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.training.study_config import StudyConfig, grid


def cells(study, **changes):
    return grid(load_recipe(study.write(**changes), StudyConfig))


def test_every_cell_once_with_its_settings_over_the_base(study):
    selections = [
        {"levels": {"teachers": ["none", "both"]}, "seeds": [1, 2]},
        {"levels": {"teachers": ["both"], "sampling": ["tas", "random"]}, "seeds": [2]},
    ]
    found = cells(study, cells=selections)
    assert [(cell.levels, cell.seed) for cell in found] == [
        (("none", "random"), 1), (("none", "random"), 2), (("both", "random"), 1), (("both", "random"), 2),
        (("both", "tas"), 2),
    ]  # fmt: skip
    none, tas = found[0].config, found[-1].config
    assert (none.loss.pairwise, none.loss.in_batch, none.sampling.strategy, none.seed) == ("ranknet", None, "random", 1)
    assert (tas.loss.pairwise, tas.loss.in_batch, tas.sampling.strategy, tas.seed) == (
        "margin-mse", "margin-mse", "tas", 2,
    )  # fmt: skip
    assert tas.optimiser.learning_rate == 1e-3  # of the base, of which a level changes other keys
    assert len({cell.config.output for cell in found}) == len({cell.config.name for cell in found}) == 5
    assert yaml.safe_load((found[0].folder / "train.yaml").read_text())["loss"] == {
        "pairwise": "ranknet", "in_batch": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cells": [{"levels": {"teacher": ["both"]}, "seeds": [1]}]}, "no `teacher` among teachers, sampling"),
        ({"cells": [{"levels": {"teachers": ["all"]}, "seeds": [1]}]}, "no `all` among none, both"),
        ({"letters": {"x": "trained"}}, "no `trained` among bm25, untrained"),
        ({"letters": {"x": {"sampling": "tasb"}}}, "no `tasb` among random, tas"),
        ({"rows": {"both": {"model": "a", "runs": {"rerank": "b"}}}}, "give `model`, or `runs`"),
        ({"rows": {"other": {"runs": {"reranking": "b"}}}}, "no `reranking` among rerank, search"),
        ({"axes": {"teachers": {"both+": {}}}, "cells": [{"seeds": [1]}]}, "string should match pattern"),
        (
            {"axes": {"seed": {"a": {"seed": 3}}}, "cells": [{"seeds": [1]}], "letters": {}},
            "without name, output, seed",
        ),
        ({"sampler": {}}, "unknown key `sampler`"),
    ],
)
def test_faults_are_named(study, changes, expected):
    with pytest.raises(TasbError) as caught:
        cells(study, **changes)
    assert expected.lower() in str(caught.value).lower()
    assert not list(study.folder.rglob("train.yaml"))


def test_two_axes_that_set_one_key(study):
    axes = study.values["axes"] | {"loss": {"listnet": {"loss.in_batch": "listnet"}}}
    with pytest.raises(TasbError, match=r"(?s)axes.loss.listnet.*loss.in_batch.*axes.teachers.none"):
        cells(study, axes=axes)


def test_a_cell_that_is_no_training_configuration(study):
    axes = study.values["axes"] | {"batch": {"large": {"batchsize": 96}}}
    with pytest.raises(TasbError, match=r"(?s)seed-1/train.yaml.*unknown key `batchsize`.*did you mean `batch_size`"):
        cells(study, axes=axes)
