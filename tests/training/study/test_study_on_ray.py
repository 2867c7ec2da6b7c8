"""`tasb study --ray`: the cells of a study on two nodes."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.training.study.conftest import Study, study_values
from tests.training.study.test_study import row_of, weights


@pytest.fixture
def one_thread():
    """In this process, as in those of the cluster: the last bits of weights depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(folder, training_set, bm25):
    """A study of two cells and one task."""
    folder.mkdir()
    study = Study(folder, study_values(folder, training_set, bm25))
    changes = {
        "cells": [{"levels": {"teachers": ["none"]}, "seeds": [1, 2]}],
        "tasks": {"rerank": study.values["tasks"]["rerank"]},
        "rows": {},
        "letters": {},
    }
    study.values.update(changes)
    return study


def test_cells_have_the_weights_of_one_process(ray_nodes, one_thread, training_set, bm25, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pyserini_tasb")
    here, there = (small(tmp_path / name, training_set, bm25) for name in ("here", "there"))
    assert here() == 0
    assert there("--ray", ray_nodes.address) == 0
    assert "Ray: 2 models, up to 2 at a time, with 1 CPU each" in caplog.text
    for seed in (1, 2):
        expected, found = (weights(study, "none+random", seed) for study in (here, there))
        assert {name: each.tobytes() for name, each in found.items()} == {
            name: each.tobytes() for name, each in expected.items()
        }
        cells = [study.cell("none+random", seed) for study in (here, there)]
        assert row_of(cells[0])["values"] == row_of(cells[1])["values"]
    assert (there.output / "table.md").exists()
    assert there("--ray", ray_nodes.address) == 0  # nothing is left
    assert "Ray: 0 models" in caplog.text
