"""A folder to type commands in: small inputs of every verb, and what `tasb` makes of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import yaml

from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL
from tests.regression.conftest import Small
from tests.retrieval.hybrid.lucene_indexes import index_documents

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TRAINING = {
    "optimiser": {"learning_rate": 1e-3},
    "schedule": {"warmup_steps": 1},
    "precision": "fp32",
    "device": "cpu",
    "batch_size": 4,
    "max_steps": 2,
    "log_every": 1,
    "workers": 0,
}
STUDENT = TRAINING | {
    "student": {"model": "model", "passage_max_length": 40},
    "data": {"pairs": "pairs"},
    "loss": {"pairwise": "ranknet", "in_batch": None},
    "sampling": {"strategy": "random"},
}
TEACHER = TRAINING | {
    "teacher": {"model": "model", "query_max_length": 20, "passage_max_length": 40},
    "data": {"pairs": "pairs"},
}
TASK = {"topics": "topics.tsv", "qrels": "qrels.txt", "collection": "corpus.jsonl", "run": "bm25.run"}
STUDY = {
    "train": STUDENT,
    "axes": {"rate": {"slow": {"optimiser.learning_rate": 1e-4}, "fast": {}}},
    "cells": [{"levels": {"rate": ["slow", "fast"]}, "seeds": [1]}],
    "tasks": {"rerank": TASK | {"depth": 5, "measures": ["nDCG@10"]}},
}


def write_inputs(folder: Path) -> None:
    """The tiny collection and model, two runs, teacher's scores, configurations, and things that are in the way."""
    for name in ("corpus.jsonl", "topics.tsv", "qrels.txt"):
        shutil.copy(TINY / name, folder / name)
    shutil.copytree(TINY_MODEL, folder / "model")
    documents = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    docids = [document["id"] for document in documents if document["text"]]
    relevant: dict[str, list[str]] = {}
    for line in (folder / "qrels.txt").open():
        qid, _, docid, _ = line.split()
        if docid in docids:
            relevant.setdefault(qid, []).append(docid)
    ranked = {
        qid: list(dict.fromkeys([*docids[n : n + 2], *found[:3], *docids[n + 2 : n + 12]]))
        for n, (qid, found) in enumerate(relevant.items())
    }
    scored = [
        f"{qid}\t{found[0]}\t{negative}"
        for n, (qid, found) in enumerate(relevant.items())
        for negative in docids[n * 5 : n * 5 + 4]
        if negative not in found
    ]
    texts = {
        "bm25.run": run_of(ranked, "bm25"),
        "dense.run": run_of({qid: found[::-1] for qid, found in ranked.items()}, "dense"),
        "broken.run": "1 Q0 a 1 x t\n",
        "scored.tsv": "".join(f"8.0\t{3 + n / 10}\t{ids}\n" for n, ids in enumerate(scored)),
        "reversed.tsv": "".join(f"{3 + n / 10}\t8.0\t{ids}\n" for n, ids in enumerate(scored)),
        "predictions.txt": "".join(f"query {n}\n" for n in range(len(documents))),
        "train.yaml": yaml.safe_dump({"name": "student", "output": "trained", **STUDENT}),
        "teach.yaml": yaml.safe_dump({"name": "teacher", "output": "taught", **TEACHER}),
        "study.yaml": yaml.safe_dump({"name": "study", "output": "studied", **STUDY}),
        "mistaken.yaml": "name: mistaken\nmodle: model\n",
        "mine.txt": "precious",
        "mine.csv": "precious",
        "clustered/clusters.tsv": "precious",
        "clustered/statistics.json": "precious",
        "reported/index.html": "precious",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "occupied").mkdir()
    (folder / "occupied" / "mine.txt").write_text("precious")
    small = Small(folder)
    for name, value in (("ok", 0.75), ("higher", 0.5), ("fail", 1.0)):
        source = {"kind": "pyserini-2cr", "reference": "nowhere"}
        small.regression(name, expected=[{"source": source, "values": {"RR@10": value}}])
    small.regression("missing", run="nowhere.run")
    plain = [{"id": each["id"], "contents": f"{each['title']} {each['text']}"} for each in documents]
    index_documents(folder / "bm25", plain)


def run_of(ranked: dict[str, list[str]], tag: str) -> str:
    lines = (
        f"{qid} Q0 {docid} {rank} {50 - rank} {tag}\n"
        for qid, found in ranked.items()
        for rank, docid in enumerate(found, 1)
    )
    return "".join(lines)


def make_outputs(commands: Iterable[str]) -> None:
    """Run commands in the folder that one is in."""
    for command in commands:
        assert tasb(*command.split()) == 0, command


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
