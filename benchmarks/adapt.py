"""Take the ingredients of `tasb adapt` away, one at a time, on collections with judgments, which train nothing.

    python benchmarks/adapt.py --collections scifact nfcorpus --output adapt-out --student tasb:minilm --teacher DIR

Each collection is a folder with collection.jsonl, queries.tsv and qrels.txt. For each of them:

1. `tasb adapt` with all ingredients: titles as queries, negatives of BM25 and of the student, both teachers,
   TAS-Balanced batches;
2. `tasb adapt` with one ingredient changed, for each of INGREDIENTS;
3. `tasb study` on the pairs and clusters of the first: random, TAS and TAS-Balanced batches, with several seeds.

It takes hours on 2 cores, and the same command goes on where it stopped. --quick shows that all of it runs.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import pyserini_tasb as tasb
from pyserini_tasb.adaptation.chain import RUNS, TRAINING
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.environment.processor import request_reproducibility

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.adaptation.adapt import Adaptation

ALL = "all ingredients"
# The change that takes an ingredient away, by what is left.
INGREDIENTS: dict[str, dict[str, Any]] = {
    "negatives of BM25 only": {"mine_with": ["bm25"]},
    "negatives of the student only": {"mine_with": ["student"]},
    "sentences as queries": {"source": "sentence"},
    "no in-batch teacher": {"settings": ["loss.in_batch=null"]},
    "no pairwise teacher": {"settings": ["loss.pairwise=null"]},
}
MEASURES = ["nDCG@10", "R@100"]
SEEDS, QUICK_SEEDS = [1, 2, 3, 4, 5], [1]
QUICK: dict[str, Any] = {"queries": 200, "max_steps": 10, "max_length": 32, "negatives": 4}
QUICK_INGREDIENTS = ("negatives of BM25 only",)


def main() -> None:
    """Adapt to each collection in every way, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", required=True, nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, default=Path("adapt-out"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--student", default="tasb:minilm", help="default: %(default)s")
    parser.add_argument("--teacher", required=True, help="an encoder, a cross-encoder or a ColBERT")
    parser.add_argument("--in-batch-teacher", help="default: --teacher, if it can be one")
    parser.add_argument("--max-length", type=int, default=200, help="tokens of a passage (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="of vectors (default: %(default)s)")
    parser.add_argument("--set", dest="settings", nargs="+", default=[], metavar="KEY=VALUE", help="of the training")
    parser.add_argument("--quick", action="store_true", help="minutes: few queries and steps, one seed")
    options = parser.parse_args()
    request_reproducibility()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # the steps say what they run
    for collection in options.collections:
        print(of_collection(collection, options), flush=True)


def of_collection(collection: Path, options: argparse.Namespace) -> str:
    """The tables of one collection, which are also written beside its results."""
    folder = options.output / collection.name
    wanted = QUICK_INGREDIENTS if options.quick else INGREDIENTS
    changes = {ALL: {}, **{name: INGREDIENTS[name] for name in wanted}}
    found = {name: adapted(collection, folder, name, change, options) for name, change in changes.items()}
    runs = {
        "BM25": found[ALL].path / RUNS["BM25"],
        "start": found[ALL].path / RUNS["start"],
        "teacher": found[ALL].path / RUNS["teacher"],
        **{name: adaptation.path / RUNS["adapted"] for name, adaptation in found.items()},
    }
    compared = tasb.evaluate(runs, qrels=collection / "qrels.txt", measures=MEASURES, baseline=ALL, details=True)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    studied = tasb.study(study_of(collection, found[ALL], options.student, seeds))
    tables = f"## {collection.name}\n\n{compared.to_markdown()}\n\n{studied.table}\n"
    write_whole(folder / "tables.md", tables)
    return tables


def adapted(
    collection: Path, folder: Path, name: str, change: Mapping[str, Any], options: argparse.Namespace
) -> Adaptation:
    """The student adapted with one ingredient changed."""
    slug = name.replace(" ", "-").lower()
    given = {"max_length": options.max_length, "source": "title", **(QUICK if options.quick else {}), **change}
    given["settings"] = [*options.settings, *change.get("settings", [])]
    return tasb.adapt(
        collection / "collection.jsonl",
        output=folder / slug,
        name=f"{collection.name}-{slug}",
        student=options.student,
        teacher=options.teacher,
        in_batch_teacher=options.in_batch_teacher,
        precision=options.precision,
        topics=collection / "queries.tsv",
        qrels=collection / "qrels.txt",
        measures=MEASURES,
        allow_reversed=True,  # NFCorpus has many near-duplicates of a query's document
        **given,
    )


def study_of(collection: Path, base: Adaptation, student: str, seeds: list[int]) -> dict[str, Any]:
    """A study of the strategies of batches, on the pairs, clusters and vectors of an adaptation."""
    train = yaml.safe_load((base.path / TRAINING).read_text(encoding="utf-8"))
    train = {key: value for key, value in train.items() if key not in {"name", "output", "seed", "description"}}
    train["data"] |= {name: str((base.path / train["data"][name]).resolve()) for name in ("pairs", "clusters")}
    vectors = train.get("teacher", {}).get("vectors", {})
    vectors |= {side: str((base.path / path).resolve()) for side, path in vectors.items()}
    task = {
        "topics": str((base.path / "judged" / "topics.tsv").resolve()),
        "qrels": str((collection / "qrels.txt").resolve()),
        "collection": str((base.path / "documents").resolve()),
        "depth": 100,
        "measures": MEASURES,
    }
    strategies = ("tas-balanced", "tas", "random")
    return {
        "name": f"{collection.name}-batches",
        "output": str(base.path.parent / "batches"),
        "train": train,
        "axes": {"sampling": {name: {"sampling.strategy": name} for name in strategies}},
        "cells": [{"levels": {"sampling": list(strategies)}, "seeds": seeds}],
        "tasks": {collection.name: task},
        "rows": {"start": {"model": student}},
        "letters": {"r": {"sampling": "random"}, "s": "start"},
    }


if __name__ == "__main__":
    main()
