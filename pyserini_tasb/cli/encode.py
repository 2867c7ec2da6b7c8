"""The verbs that make vectors and indexes: encode, export, index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import (
    CORPUS,
    DEVICE_OR_GPU,
    add_backend_option,
    add_fields_options,
    add_overwrite_option,
    add_precision_option,
    add_threads_option,
    at_least_one,
)
from pyserini_tasb.cli.verbs import Verb, say

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.encoding.corpus import Vectors


def _add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="NAME|PATH",
        help="The encoder: tasb, tasb:NAME (`tasb list encoders`), a model's folder or hub id, or a card's path.",
    )
    parser.add_argument(
        "--corpus",
        required=True,
        nargs="+",
        metavar="PATH",
        help=f"{CORPUS} Several are taken one after the other.",
    )
    add_fields_options(parser)
    parser.add_argument(
        "--kind",
        choices=("passage", "query"),
        default="passage",
        help="Give the texts the encoder card's prefix and length cap for such texts (default: %(default)s).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="The folder of the vectors: a new one, or one that the same command began.",
    )
    parser.add_argument(
        "--output-format",
        nargs="+",
        action="extend",
        default=[],
        choices=("faiss", "jsonl", "parquet", "npy"),
        help="Write the vectors as DIR/FORMAT for other programs, too. A later command may ask for more formats: "
        "nothing is encoded again.",
    )
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="Keep so many tokens of a text (default: the encoder card's)."
    )
    add_precision_option(parser)
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16"), default="fp32", help="Store vectors in this type (default: %(default)s)."
    )
    parser.add_argument("--device", metavar="DEVICE", help=DEVICE_OR_GPU)
    parser.add_argument(
        "--unit-size",
        type=int,
        metavar="N",
        help="Write so many passages at once. An interruption loses the passages of one unit (default: 16384, or what "
        "DIR was begun with).",
    )
    add_backend_option(parser)
    shared = parser.add_mutually_exclusive_group()
    shared.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="Share the units out to N processes of this machine (default: %(default)s).",
    )
    shared.add_argument(
        "--shard",
        metavar="i/n",
        help="Encode only every n-th unit, from the i-th on, counted from 0: for n machines that share DIR.",
    )


def _report_encode(vectors: Vectors, _options: argparse.Namespace) -> int:
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first speaks for all
        say(vectors.summary)
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="NAME|PATH",
        help="The encoder to export: tasb, tasb:NAME, a model's folder or hub id, or a card's path.",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="A new folder for the exported model.")
    parser.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        default="fp32",
        help="Compute in fp32, or multiply matrices in int8, which is faster and less accurate (default: %(default)s).",
    )
    parser.add_argument(
        "--sample",
        nargs=2,
        metavar=("CORPUS", "TOPICS"),
        help="Compare vectors and rankings on these texts (default: 128 abstracts and 64 queries of CACM). Both may be "
        "READER:PATH (docs/extend.md).",
    )
    add_fields_options(parser, "--sample")
    parser.add_argument(
        "--force", action="store_true", help="Write the model even if it lost more accuracy than it should."
    )
    add_overwrite_option(parser)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vectors", required=True, metavar="DIR", help="The output of `tasb encode`, or a flat Faiss folder."
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="A new folder for the index.")
    parser.add_argument(
        "--kind",
        default="flat",
        metavar="KIND",
        help="The kind of index: flat, fp16, bf16, int8, rabitq, jpq, hnsw, ivf, ivfpq, ivfrabitq, lucene-flat, "
        "lucene-hnsw, a factory string of Faiss, such as OPQ32,IVF1024,PQ32, or your own as module:name (default: "
        "%(default)s).",
    )
    parser.add_argument(
        "--refine",
        choices=("fp32", "fp16"),
        help="Rank what the index finds again by the vectors themselves, kept in this type.",
    )
    parser.add_argument(
        "--parameters",
        metavar="NAME=VALUE,…",
        help="Keep these parameters of the search in the index, such as nprobe=64,k_factor_rf=8.",
    )
    parser.add_argument(
        "--sample", type=at_least_one, metavar="N", help="Train on so many vectors (default: by the kind)."
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The seed of everything that is drawn at random (default: %(default)s)."
    )
    parser.add_argument(
        "--queries",
        metavar="DIR",
        help="Train a product quantiser (jpq, or a string such as OPQ48,PQ48) to rank for these queries as the vectors "
        "do. DIR is the output of `tasb encode --kind query`. No judgements are needed.",
    )
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="Measure the index with these queries, which --encoder encodes (default: those of --queries that were "
        "held out, or 200 of the vectors). This is a "
        "name, such as dl19-passage, a file, or READER:PATH (docs/extend.md).",
    )
    parser.add_argument("--encoder", metavar="NAME|PATH", help="The encoder of --topics.")
    parser.add_argument(
        "--query-encoder",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME|PATH",
        help="Let these encoders search the index, besides the one that made the vectors.",
    )
    add_backend_option(parser)
    add_threads_option(parser)
    add_overwrite_option(parser)


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
    ),
    Verb(
        "index",
        "Build a Faiss or Lucene index of vectors.",
        example="tasb index --vectors vectors --output index --kind hnsw",
        add_options=_add_index,
    ),
)
