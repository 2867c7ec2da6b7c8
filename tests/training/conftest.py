"""A training set made of the tiny collection: titles are queries, each relevant to its document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from tests.conftest import TINY_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Collection


NEGATIVES = 6


@dataclass(frozen=True)
class TrainingSet:
    """Folders and files that a training configuration names."""

    pairs: Path
    clusters: Path
    validation: Path
    teacher: Path
    model: Path = TINY_MODEL

    def config(self, folder: Path, **sections: object) -> Path:
        """A configuration in `folder`: eight steps of four pairs with all losses, unless `sections` say otherwise."""
        config = {
            # Two tests of a session may not train encoders of one name, and a folder's name alone may occur twice.
            "name": f"{folder.parent.name}-{folder.name}".lower(),
            "output": str(folder / "run"),
            "student": {"model": str(TINY_MODEL), "passage_max_length": 40},
            "data": {"pairs": str(self.pairs), "clusters": str(self.clusters)},
            "teacher": {"in_batch": f"tasb:{self.teacher}"},
            "optimiser": {"learning_rate": 1e-3},
            "schedule": {"warmup_steps": 2},
            "precision": "fp32",
            "batch_size": 4,
            "max_steps": 8,
            "log_every": 1,
            "workers": 0,
        }
        config |= sections
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


@pytest.fixture(scope="session")
def training_set(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    from pyserini_tasb import pairs
    from pyserini_tasb.data.cluster_file import write_clusters
    from pyserini_tasb.data.validation_building import build_validation_set

    folder = tmp_path_factory.mktemp("training-set")
    random = np.random.default_rng(7)
    titled = [number for number, title in enumerate(collection.titles) if title and collection.texts[number]]
    lines = []
    for number in titled:
        others = [other for other in titled if other != number]
        for negative in random.choice(others, NEGATIVES, replace=False):
            scores = "\t".join(f"{score:.3f}" for score in random.normal((8, 3), 2))
            lines.append(f"{scores}\tq{number}\t{collection.docids[number]}\t{collection.docids[negative]}\n")
    (folder / "scores.tsv").write_text("".join(lines))
    (folder / "queries.tsv").write_text("".join(f"q{number}\t{collection.titles[number]}\n" for number in titled))
    texts = dict(zip(collection.docids, collection.texts, strict=True))
    (folder / "collection.tsv").write_text("".join(f"{docid}\t{text}\n" for docid, text in texts.items() if text))
    pairs(
        scored_pairs=folder / "scores.tsv",
        corpus=folder / "collection.tsv",
        topics=folder / "queries.tsv",
        output=folder / "pairs",
    )
    write_clusters(folder / "clusters.tsv", [[f"q{number}" for number in part] for part in np.array_split(titled, 5)])
    judged = titled[::4]
    candidates = {number: random.choice(titled, 20, replace=False) for number in judged}
    build_validation_set(
        folder / "validation",
        topics={f"q{number}": collection.titles[number] for number in judged},
        qrels={f"q{number}": {collection.docids[number]: 1} for number in judged},
        run={
            f"q{number}": {collection.docids[other]: float(-rank) for rank, other in enumerate(others)}
            for number, others in candidates.items()
        },
        passages=[(docid, text) for docid, text in texts.items() if text],
    )
    # Not the student itself, whose in-batch margins would be right from the start.
    (folder / "teacher.yaml").write_text(f"name: teacher\nmodel: {TINY_MODEL}\npooling: mean\n")
    names = ("pairs", "clusters.tsv", "validation", "teacher.yaml")
    return TrainingSet(*(folder / name for name in names))
