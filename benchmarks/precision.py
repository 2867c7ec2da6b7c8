"""The costs of reduced precision: each back end's ranking of a judged collection beside fp32's, with paired tests.

    python benchmarks/precision.py nfcorpus scifact
    python benchmarks/precision.py nfcorpus --encoder mpnet/model --max-length 128 --ways onnx-fp32 onnx-int8-8
    python benchmarks/precision.py --quick            # a part of CACM, which is in the package

A collection is a folder with collection.jsonl, queries.tsv and qrels.txt. All of its passages are encoded, and searched
exactly; queries are encoded one by one, as they come. int8 is tried with weights of 8 and of 7 bits. The tests are
those of `tasb evaluate`.
Needs `pip install -e '.[demo,onnx]'`.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np
import torch
from measuring import Options, Results

import pyserini_tasb as tasb
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.export import built_in_sample
from pyserini_tasb.encoding.int8 import VARIABLE as INT8_BITS
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.formats.cacm_collection import cacm
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.recipes.types import EncoderCard


# The first one that is asked for is what the others are compared with.
WAYS = ("torch-fp32", "onnx-fp32", "torch-bf16", "onnx-int8-8", "onnx-int8-7")
DEPTH = 100
MEASURES = ("nDCG@10", f"R@{DEPTH}")
COLUMNS = {column: form for measure in MEASURES for column, form in ((measure, ".4f"), (f"{measure}: p", ".2f"))}
# Seconds on the machine of `measuring.PROBES`: of a character by all ways together, and until all are loaded.
CHARACTER, LOADING = 0.000135, 30
CHARACTERS_PER_TOKEN = 5


def main() -> int:
    """Encode, search and compare, collection by collection."""
    parser = Options(__file__, __doc__, quick={"passages": 1_000})
    parser.add_argument("collections", nargs="*", type=Path, help="folders (default: CACM)")
    parser.add_argument("--passages", type=int, help="so many, those judged relevant first (default: all)")
    parser.add_argument("--encoder", default="minilm", help="default: %(default)s")
    parser.add_argument("--max-length", type=int, help="tokens kept of a passage; default: the card's")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="back end, precision, bits; default: all"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    card = encoder_card(arguments.encoder)
    card = card.model_copy(update={"passage_max_length": arguments.max_length or card.passage_max_length})
    results = Results(arguments, COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        collections = arguments.collections or [write_cacm(Path(folder) / "cacm")]
        corpora = {path: passages_of(path, arguments.passages) for path in collections}
        longest = card.passage_max_length * CHARACTERS_PER_TOKEN
        lengths = [min(len(text), longest) for passages in corpora.values() for text in passages.values()]
        share = len(arguments.ways) / len(WAYS)
        results.expect(
            f"{len(lengths):,} passages by {len(arguments.ways)} ways",
            matrices=sum(lengths) * CHARACTER * share,
            python=LOADING * share,
        )
        for path, passages in corpora.items():
            compare(card, path, passages, arguments.ways, results)
    return results.finish()


def write_cacm(folder: Path) -> Path:
    """The package's CACM as a collection."""
    cacm(folder)
    (folder / "documents" / "cacm.jsonl").rename(folder / "collection.jsonl")
    topics = enumerate(built_in_sample().queries, 1)  # which are numbered in this order
    (folder / "queries.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in topics))
    (folder / "qrels.repaired.txt").rename(folder / "qrels.txt")
    return folder


def passages_of(collection: Path, count: int | None) -> dict[str, str]:
    """Docid → text; if there are more than `count`, those judged relevant and the first others."""
    passages = dict(open_collection(collection / "collection.jsonl"))
    judgments = read_qrels(collection / "qrels.txt").values()
    relevant = {docid for judged in judgments for docid, grade in judged.items() if grade > 0 and docid in passages}
    chosen = itertools.chain(sorted(relevant), (docid for docid in passages if docid not in relevant))
    return {docid: passages[docid] for docid in itertools.islice(chosen, count)}


def compare(
    card: EncoderCard, collection: Path, passages: dict[str, str], ways: Sequence[str], results: Results
) -> None:
    """Add one collection's rows."""
    runs = {}
    for way in ways:
        backend, precision, *bits = way.split("-")
        os.environ[INT8_BITS] = "".join(bits)
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), backend=backend)
        if encoder.computes() == f"{backend} {precision}":
            runs[way] = search(encoder, collection, passages)
        else:
            results.skip(way, f"who asks for it gets {encoder.computes()} on this processor")
    first = next(iter(runs))
    qrels = read_qrels(collection / "qrels.txt")
    found = tasb.evaluate(runs, qrels=qrels, baseline=first, measures=MEASURES, details=True)
    results.note(f"{collection.name}: {len(passages):,} passages\n{found}")
    for way in runs:
        row = results.rows[f"{collection.name}: {way}"] = dict(found[way].overall)
        if way != first:
            row |= {f"{measure}: p": found.tests[measure][way, first].p for measure in MEASURES}


def search(encoder: TextEncoder, collection: Path, passages: dict[str, str]) -> RunDict:
    """The best passages of every judged query."""
    judged = read_qrels(collection / "qrels.txt")
    topics = {qid: text for qid, text in read_topics(collection / "queries.tsv").items() if qid in judged}
    docids = list(passages)
    vectors = encoder.encode(list(passages.values()), max_length=encoder.card.passage_max_length)
    queries = np.vstack([encoder.encode([text], max_length=encoder.card.query_max_length) for text in topics.values()])
    scores, rows = faiss.knn(queries, vectors, DEPTH, metric=faiss.METRIC_INNER_PRODUCT)
    return {
        qid: {docids[row]: float(score) for row, score in zip(*found, strict=True)}
        for qid, *found in zip(topics, rows, scores, strict=True)
    }


if __name__ == "__main__":
    sys.exit(main())
