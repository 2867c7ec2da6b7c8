"""What reduced precision costs: each back end's ranking of a judged collection beside fp32's, with paired tests.

    python benchmarks/precision.py nfcorpus scifact
    python benchmarks/precision.py nfcorpus --encoder mpnet/model --max-length 128 --ways onnx-fp32 onnx-int8-8

A collection is a folder with collection.jsonl, queries.tsv and qrels.txt. All of its passages are encoded, and searched
exactly; queries are encoded one by one, as they come. int8 is tried with weights of 8 and of 7 bits. The table is
`tasb evaluate`'s.
Needs `pip install -e '.[demo,onnx]'`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np
import torch

from pyserini_tasb.cli.main import main as main_of_tasb
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.int8 import VARIABLE as INT8_BITS
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.recipes.types import EncoderCard


# The first one that is asked for is what the others are compared with.
WAYS = ("torch-fp32", "onnx-fp32", "torch-bf16", "onnx-int8-8", "onnx-int8-7")
DEPTH = 100


def main() -> int:
    """Encode, search and compare, collection by collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+", type=Path, help="folders")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument("--max-length", type=int, help="tokens kept of a passage; default: the card's")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="back end, precision, bits; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    card = encoder_card(arguments.encoder)
    card = card.model_copy(update={"passage_max_length": arguments.max_length or card.passage_max_length})
    for collection in arguments.collections:
        print(f"\n{collection.name}")
        with tempfile.TemporaryDirectory() as folder:
            if status := compare(card, collection, arguments.ways, Path(folder)):
                return status
    return 0


def compare(card: EncoderCard, collection: Path, ways: Sequence[str], folder: Path) -> int:
    """Print one collection's table; the exit status of `tasb evaluate`."""
    runs = []
    for way in ways:
        backend, precision, *bits = way.split("-")
        os.environ[INT8_BITS] = "".join(bits)
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), backend=backend)
        if encoder.computes() != f"{backend} {precision}":
            print(f"no {precision} on this machine")
            continue
        runs.append(folder / f"{way}.txt")
        Run(search(encoder, collection)).write(runs[-1], tag=way)
    chosen = ["--runs", *map(str, runs), "--baseline", str(runs[0]), "--measures", "nDCG@10", f"R@{DEPTH}", "--details"]
    return main_of_tasb(["evaluate", "--qrels", str(collection / "qrels.txt"), *chosen])


def search(encoder: TextEncoder, collection: Path) -> RunDict:
    """The best passages of every judged query."""
    judged = read_qrels(collection / "qrels.txt")
    topics = {qid: text for qid, text in read_topics(collection / "queries.tsv").items() if qid in judged}
    docids, passages = zip(*open_collection(collection / "collection.jsonl"), strict=True)
    vectors = encoder.encode(passages, max_length=encoder.card.passage_max_length)
    queries = np.vstack([encoder.encode([text], max_length=encoder.card.query_max_length) for text in topics.values()])
    scores, rows = faiss.knn(queries, vectors, DEPTH, metric=faiss.METRIC_INNER_PRODUCT)
    return {
        qid: {docids[row]: float(score) for row, score in zip(*found, strict=True)}
        for qid, *found in zip(topics, rows, scores, strict=True)
    }


if __name__ == "__main__":
    sys.exit(main())
