"""A small study of the tiny collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from pyserini_tasb.formats.run import Run
from tests.command_line import tasb_raising
from tests.conftest import TINY, TINY_MODEL
from tests.reranking.models import make_bert_cat
from tests.training.conftest import training_set  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.training.conftest import TrainingSet


AXES = {
    "teachers": {"none": {"loss.pairwise": "ranknet", "loss.in_batch": None}, "both": {}},
    "sampling": {"random": {"sampling.strategy": "random"}, "tas": {"sampling.strategy": "tas"}},
}
CELLS = [
    {"levels": {"teachers": ["none", "both"]}, "seeds": [1]},
    {"levels": {"teachers": ["both"], "sampling": ["tas"]}, "seeds": [1, 2]},
]


@dataclass(frozen=True)
class Study:
    """A folder for a study, and what its configuration says by default."""

    folder: Path
    values: dict

    def write(self, **changes: object) -> Path:
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump(self.values | changes, sort_keys=False))
        return path

    def __call__(self, *options: str, **changes: object) -> int:
        return tasb_raising("study", self.write(**changes), *options)

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def cell(self, name: str, seed: int = 1) -> Path:
        return self.output / "cells" / name / f"seed-{seed}"


def study_values(folder: Path, training_set: TrainingSet, bm25: Path, **train: object) -> dict:  # noqa: F811
    config = yaml.safe_load(training_set.config(folder).read_text())
    of_a_cell = {key: value for key, value in config.items() if key not in {"name", "output"}}
    task = {
        "topics": str(TINY / "topics.tsv"),
        "qrels": str(TINY / "qrels.txt"),
        "collection": str(TINY / "corpus.jsonl"),
    }
    return {
        "name": config["name"],
        "output": str(folder / "out"),
        "train": of_a_cell | train,
        "axes": AXES,
        "cells": CELLS,
        "tasks": {
            "rerank": {**task, "run": str(bm25), "depth": 15, "measures": ["nDCG@10", "RR@10"]},
            "search": {**task, "depth": 30, "measures": ["nDCG@10"]},
        },
        "rows": {
            "BM25": {"runs": {"rerank": str(bm25)}},
            "untrained": {"model": f"tasb:{TINY_MODEL}"},
        },
        "letters": {"u": "untrained", "r": {"sampling": "random"}},
    }


@pytest.fixture(scope="session")
def bm25(collection, tmp_path_factory) -> Path:
    """Some twenty passages for each query, the relevant ones among them."""
    path = tmp_path_factory.mktemp("runs") / "bm25.txt"
    qrels: dict[str, list[str]] = {}
    for line in (TINY / "qrels.txt").open():
        qid, _, docid, _ = line.split()
        qrels.setdefault(qid, []).append(docid)
    with_text = [docid for docid, text in zip(collection.docids, collection.texts, strict=True) if text]
    rankings = {}
    for number, (qid, relevant) in enumerate(qrels.items()):
        docids = dict.fromkeys(
            [*with_text[number * 7 : number * 7 + 17], *(docid for docid in relevant[:3] if docid in with_text)]
        )
        rankings[qid] = {docid: float(-rank) for rank, docid in enumerate(docids)}
    Run(rankings).write(path, tag="bm25")
    return path


@pytest.fixture
def study(training_set, bm25, tmp_path) -> Study:  # noqa: F811
    return Study(tmp_path, study_values(tmp_path, training_set, bm25))


@pytest.fixture(scope="package")
def finished(training_set, bm25, tmp_path_factory) -> Study:  # noqa: F811
    """A study that ran undisturbed; look, and leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    study = Study(folder, study_values(folder, training_set, bm25))
    cross_encoder = folder / "cat"
    make_bert_cat(cross_encoder)
    study.values["rows"]["teacher"] = {"model": str(cross_encoder)}
    assert study() == 0
    return study
