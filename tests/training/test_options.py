"""What later work adds to training, each an option: trained end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from pyserini_tasb import pairs
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "passage_max_length": 40}


def steps(run_folder):
    lines = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == "step"]


@pytest.fixture(scope="module")
def labels_only(training_set, tmp_path_factory):
    """The pairs of the training set without a teacher's scores."""
    folder, source = tmp_path_factory.mktemp("labels"), training_set.pairs.parent
    rows = [line.split("\t")[2:] for line in (source / "scores.tsv").read_text().splitlines()]
    (folder / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    pairs(
        scored_pairs=folder / "pairs.tsv",
        corpus=source / "collection.tsv",
        topics=source / "queries.tsv",
        output=folder / "pairs",
    )
    return folder / "pairs"


def test_infonce_learns_from_labels_without_any_teacher(training_set, labels_only, tmp_path):
    config = training_set.config(
        tmp_path,
        student={"model": str(training_set.model), "normalise": True, **NO_DROPOUT},
        data={"pairs": str(labels_only), "clusters": str(training_set.clusters)},
        teacher={},
        loss={"pairwise": None, "in_batch": "infonce", "temperature": 0.05},
        sampling={"strategy": "tas"},
        optimiser={"learning_rate": 3e-3},
        batch_size=8,
        max_steps=30,
    )
    train(config)
    losses = [step["in_batch"] for step in steps(tmp_path / "run")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "infonce" in card
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["loss"]["temperature"] == 0.05


def test_another_temperature_is_another_run(training_set, tmp_path):
    config = training_set.config(tmp_path, teacher={}, loss={"in_batch": "infonce"}, max_steps=1)
    train(config)
    assert "temperature" not in yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["loss"]
    with pytest.raises(TasbError, match=r"`loss.temperature`: 2.0, was None"):
        train(config, settings=["loss.temperature=2", "max_steps=2"])


def test_several_negatives_of_each_query_in_one_process_or_two(training_set, tmp_path):
    """An odd batch: the processes' shares differ in size, and with them the shares of the negatives."""
    losses = {}
    for processes in (1, 2):
        folder = tmp_path / f"processes-{processes}"
        folder.mkdir()
        config = training_set.config(
            folder,
            student={"model": str(training_set.model), **NO_DROPOUT},
            sampling={"negatives": 3},
            loss={"pairwise": "kldiv"},
            teacher={"in_batch": f"tasb:{training_set.teacher}", "precompute": "never"},
            batch_size=5,
            max_steps=4,
        )
        tasb_processes(processes, "train", config, "--set", "device=cpu")
        losses[processes] = steps(folder / "run")
    for part in ("pairwise", "in_batch", "gradient_norm"):
        one, two = ([step[part] for step in losses[processes]] for processes in (1, 2))
        assert len(one) == 4
        assert two == pytest.approx(one, rel=1e-5)
