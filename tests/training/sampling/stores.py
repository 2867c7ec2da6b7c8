"""A real pair store over the tiny collection, and samplers that do more than sample."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.pair_builder import PairRows, PairStoreBuilder
from pyserini_tasb.data.pair_store import PairStore, open_pair_store
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.text_store import write_text_store
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.training.sampling import SampledBatch, Sampler


COLUMNS = {"scores": 2, "margins": 1, "labels": 0}


def tiny_store(folder: Path, supervision: str) -> PairStore:
    """Titles are queries; each has up to 3 positives and 6 pairs, drawn at random, and one more known positive."""
    documents = [json.loads(line) for line in (TINY / "corpus.jsonl").open()]
    queries = write_text_store(folder / "q", [(f"q{document['id']}", document["title"]) for document in documents])
    passages = write_text_store(folder / "p", [(document["id"], document["text"]) for document in documents])
    random = np.random.default_rng(0)
    count = len(documents)
    rows = []
    for query in range(count):
        positives = [query, *random.integers(0, count, 2)]
        rows += [(query, positives[number % 3], random.integers(0, count)) for number in range(1 + query % 6)]
    columns = np.array(rows, np.int64).T
    values = random.normal(5, 3, (len(rows), COLUMNS[supervision])).astype(np.float32)
    with PairStoreBuilder(folder / "store", supervision) as builder:
        builder.add(PairRows(*columns, values))
        builder.finish(
            queries, passages, known_positives=(np.arange(count), np.random.default_rng(1).integers(0, count, count))
        )
    return open_pair_store(folder / "store")


@dataclass(frozen=True)
class Noting:
    """Makes a file for every step it samples."""

    sampler: Sampler
    folder: Path

    def batch(self, step: int) -> SampledBatch:
        (self.folder / str(step)).touch()
        return self.sampler.batch(step)


@dataclass(frozen=True)
class Failing:
    """Cannot sample one of the steps."""

    sampler: Sampler
    step: int
    fixable: bool

    def batch(self, step: int) -> SampledBatch:
        if step == self.step and self.fixable:
            raise TasbError(expected="whole files", found="half a file", do="copy it again", where="some.npy")
        if step == self.step:
            raise ZeroDivisionError("by a worker")
        return self.sampler.batch(step)


class Probing:
    """Tells about the process that it is in."""

    def batch(self, step: int) -> SampledBatch:
        loaded = sorted({"torch", "transformers"} & set(sys.modules))
        raise TasbError(expected="", found=f"{loaded} {os.environ.get('TOKENIZERS_PARALLELISM')}", do="")
