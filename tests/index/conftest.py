"""Vectors to index: the tiny collection's by the tiny model, and more, for quantisers to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import TINY_MODEL, Collection
from tests.encode.corpus.vector_folders import write_vector_folder

if TYPE_CHECKING:
    from pathlib import Path

MORE = 400


@dataclass(frozen=True)
class Vectors:
    """A vector folder, and what is in it."""

    folder: Path
    docids: list[str]
    vectors: np.ndarray


@pytest.fixture(scope="session")
def vectors(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    from pyserini_tasb import TasbDocumentEncoder

    real = TasbDocumentEncoder(f"tasb:{TINY_MODEL}").encode(texts=collection.texts, titles=collection.titles)
    noise = np.random.default_rng(0).standard_normal((MORE, real.shape[1]), dtype=np.float32)
    everything = np.concatenate([real, real[np.arange(MORE) % len(real)] + 0.5 * noise])
    docids = collection.docids + [f"more{number}" for number in range(MORE)]
    folder = tmp_path_factory.mktemp("vectors") / "vectors"
    return Vectors(write_vector_folder(folder, docids, everything, unit_size=200), docids, everything)


@pytest.fixture(scope="session")
def exact(vectors: Vectors, collection: Collection) -> dict[str, dict[str, float]]:
    """The inner product of every topic with every vector."""
    from pyserini_tasb import TasbQueryEncoder

    queries = TasbQueryEncoder(f"tasb:{TINY_MODEL}").encode_batch(list(collection.topics.values()))
    scores = queries @ vectors.vectors.T
    return {
        qid: dict(zip(vectors.docids, row.tolist(), strict=True))
        for qid, row in zip(collection.topics, scores, strict=True)
    }
