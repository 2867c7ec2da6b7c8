"""Configurations of teachers on the tiny training set, and what they make."""

from __future__ import annotations

import pytest
import yaml

from pyserini_tasb.training.teach import teach

CAPS = {"query_max_length": 20, "passage_max_length": 40}
DIMENSION = 16


@pytest.fixture(scope="session")
def teaching(training_set):
    """Writes a configuration: ten steps of six queries, unless `sections` say otherwise."""

    def write(folder, **sections):
        config = {
            "name": "teacher",
            "output": str(folder / "run"),
            "teacher": {"model": str(training_set.model), **CAPS, **sections.pop("teacher", {})},
            "data": {"pairs": str(training_set.pairs), "validation": str(training_set.validation)},
            "optimiser": {"learning_rate": 1e-3},
            "schedule": {"warmup_steps": 2},
            "validation": {"every": 5},
            "checkpoint": {"every": 5},
            "precision": "fp32",
            "batch_size": 6,
            "max_steps": 10,
            "log_every": 1,
            "workers": 0,
        }
        path = folder / "teach.yaml"
        path.write_text(yaml.safe_dump(config | sections))
        return path

    return write


@pytest.fixture(scope="session")
def cat(teaching, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cat")
    return teach(teaching(folder), kind="cat").folder


@pytest.fixture(scope="session")
def colbert(teaching, tmp_path_factory):
    folder = tmp_path_factory.mktemp("colbert")
    return teach(teaching(folder, teacher={"dimension": DIMENSION}), kind="colbert").folder
