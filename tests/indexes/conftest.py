"""Vectors to index: the tiny collection's by the tiny model, and more, for quantisers to train on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyserini_tasb.encoding.index_manifest import ALLOW_OTHER
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL, Collection
from tests.encoding.corpus.vector_folders import write_vector_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Digests of models are not kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a test allows them; what `--allow-other-encoder` sets is gone after a test."""
    monkeypatch.setenv(ALLOW_OTHER, "0")


@pytest.fixture(scope="session")
def encoded_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vector folder of the tiny collection, with a flat index in it. Tests must not change it."""
    output = tmp_path_factory.mktemp("encoded") / "vectors"
    options = ["--encoder", f"tasb:{TINY_MODEL}", "--corpus", str(TINY / "corpus.jsonl"), "--output", str(output)]
    assert tasb("encode", *options, "--unit-size", "50", "--output-format", "faiss", "--device", "cpu") == 0
    return output


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other weights: vectors of the same dimension that mean something else."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(TINY_MODEL, tmp_path_factory.mktemp("other") / "tasb-other")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.flip(0) for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return folder
