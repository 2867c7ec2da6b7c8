"""The verbs that make vectors and indexes: encode, export, index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import add_backend_option, add_precision_option, add_threads_option, at_least_one
from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.encoding.corpus import Vectors


def _add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, metavar="NAME|PATH", help="e.g. tasb, tasb:minilm, a folder")
    parser.add_argument(
        "--corpus", required=True, nargs="+", metavar="PATH", help="TSV, JSONL, Lucene index or text store"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the vectors, in units; formats are put inside")
    parser.add_argument(
        "--output-format",
        nargs="+",
        action="extend",
        default=[],
        choices=("faiss", "jsonl", "parquet", "npy"),
        help="for others to read, as DIR/FORMAT; may be asked for later, too: nothing is encoded again",
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens kept of a passage (default: the card's)")
    add_precision_option(parser)
    parser.add_argument("--dtype", choices=("fp32", "fp16"), default="fp32", help="to store in (default: %(default)s)")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda:0, … (default: a GPU if there is one)")
    parser.add_argument(
        "--unit-size",
        type=int,
        metavar="N",
        help="passages of a unit, which is what an interruption loses (default: 16384, or what DIR was begun with)",
    )
    add_backend_option(parser)
    shared = parser.add_mutually_exclusive_group()
    shared.add_argument("--processes", type=int, default=1, metavar="N", help="share the units out to N processes")
    shared.add_argument("--shard", metavar="i/n", help="only every n-th unit, from the i-th on, counted from 0")


def _report_encode(vectors: Vectors, _options: argparse.Namespace) -> int:
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first speaks for all
        print(vectors.summary)
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, metavar="NAME", help="e.g. tasb, tasb:minilm, or a model's folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="default: %(default)s")
    parser.add_argument(
        "--sample",
        nargs=2,
        metavar=("COLLECTION", "TOPICS"),
        help="texts to compare vectors and rankings on (default: 128 abstracts and 64 queries of CACM)",
    )
    parser.add_argument("--force", action="store_true", help="also write a model that lost more than it should")


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vectors", required=True, metavar="DIR", help="of `tasb encode`, or a flat Faiss folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="the index")
    parser.add_argument(
        "--kind",
        default="flat",
        metavar="KIND",
        help="flat, fp16, bf16, int8, hnsw, ivf, ivfpq, lucene-flat, lucene-hnsw, or a Faiss factory string, "
        "such as OPQ32,IVF1024,PQ32 (default: %(default)s)",
    )
    parser.add_argument("--refine", choices=("fp32", "fp16"), help="rank what is found again by the vectors themselves")
    parser.add_argument(
        "--parameters", metavar="NAME=VALUE,…", help="of the search, kept in the index: nprobe=64,k_factor_rf=8"
    )
    parser.add_argument("--sample", type=at_least_one, metavar="N", help="vectors to train on (default: by the kind)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: %(default)s)")
    parser.add_argument("--topics", metavar="NAME|PATH", help="topics to measure it with, encoded by --encoder")
    parser.add_argument("--encoder", metavar="NAME", help="of --topics")
    parser.add_argument(
        "--query-encoder",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="encoders that may search the index, besides the one that made the vectors",
    )
    add_backend_option(parser)
    add_threads_option(parser)


VERBS = (
    Verb(
        "encode",
        "Turn a corpus into vectors; an interrupted command goes on where it stopped.",
        example="tasb encode --encoder tasb --corpus collection.tsv --output vectors",
        add_options=_add_encode,
        report=_report_encode,
    ),
    Verb(
        "export",
        "Write an encoder's model as a folder for ONNX Runtime.",
        example="tasb export --encoder tasb:minilm --output minilm-int8 --precision int8",
        add_options=_add_export,
        old="pyserini_tasb.encoding.export:run",
    ),
    Verb(
        "index",
        "Build a Faiss or Lucene index of vectors.",
        example="tasb index --vectors vectors --output index --kind hnsw",
        add_options=_add_index,
        old="pyserini_tasb.indexes.build:run",
    ),
)
