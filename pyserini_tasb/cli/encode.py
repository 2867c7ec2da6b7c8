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
    add_ray_options,
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
        help="The encoder: tasb, tasb:NAME (`tasb list encoders`), a model's folder or hub id, or the path of an "
        "encoder card.",
    )
    parser.add_argument(
        "--corpus",
        required=True,
        nargs="+",
        metavar="PATH",
        help=f"{CORPUS} Files and folders can also be URLs, such as s3://bucket/corpus.jsonl. Several are read one "
        "after the other.",
    )
    add_fields_options(parser)
    parser.add_argument(
        "--kind",
        choices=("passage", "query"),
        default="passage",
        help="The kind of the texts, which decides their prefix and length limit in the encoder card (default: "
        "%(default)s).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="The folder for the vectors: a new one, or one that the same command began.",
    )
    parser.add_argument(
        "--output-format",
        nargs="+",
        action="extend",
        default=[],
        choices=("faiss", "jsonl", "parquet", "npy"),
        help="Also write the vectors to DIR/FORMAT for other programs. A later command can add formats without "
        "encoding again.",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="Keep at most N tokens of a text (default: the encoder card's limit).",
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
        help="Write N passages at a time, as one unit. An interruption loses one unit at most (default: 16384, or "
        "the size that DIR was begun with).",
    )
    add_backend_option(parser)
    shared = parser.add_mutually_exclusive_group()
    shared.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="Encode in N processes on this machine (default: 1); with --ray, in N actors (default: as many as the "
        "cluster has room for).",
    )
    shared.add_argument(
        "--shard",
        metavar="i/n",
        help="Encode only every n-th unit, starting at unit i (counted from 0). Use it on n machines that share DIR.",
    )
    add_ray_options(parser, "Encode")


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
        help="The number format of matrix products: fp32, or int8, which is faster and less accurate (default: "
        "%(default)s).",
    )
    parser.add_argument(
        "--sample",
        nargs=2,
        metavar=("CORPUS", "TOPICS"),
        help="The texts on which the exported model is compared with the original (default: 128 abstracts and 64 "
        "queries of CACM). Both may be READER:PATH (docs/extend.md).",
    )
    add_fields_options(parser, "--sample")
    parser.add_argument(
        "--force", action="store_true", help="Write the model even if it loses more accuracy than allowed."
    )
    add_overwrite_option(parser)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vectors",
        required=True,
        metavar="DIR",
        help="The vectors: the output of `tasb encode`, or the folder of a flat Faiss index.",
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
        help="Re-rank the index's hits by the original vectors. The index then also stores these, in this type.",
    )
    parser.add_argument(
        "--parameters",
        metavar="NAME=VALUE,…",
        help="Store these search parameters in the index, such as nprobe=64,k_factor_rf=8.",
    )
    parser.add_argument(
        "--sample",
        type=at_least_one,
        metavar="N",
        help="Train the index on N vectors (default: a number that depends on the kind).",
    )
    parser.add_argument("--seed", type=int, default=0, help="The random seed (default: %(default)s).")
    parser.add_argument(
        "--queries",
        metavar="DIR",
        help="Train the codes of a product quantiser with these queries, so that it ranks as the original vectors do "
        "(with --kind jpq, or a string such as OPQ48,PQ48). DIR is the output of `tasb encode --kind query`. No "
        "judgments are needed.",
    )
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="The queries with which the index's accuracy is measured: a name, such as dl19-passage, a file, or "
        "READER:PATH (docs/extend.md; default: some of --queries that are held out, or else 200 of the vectors).",
    )
    parser.add_argument("--encoder", metavar="NAME|PATH", help="The encoder that encodes --topics.")
    parser.add_argument(
        "--query-encoder",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME|PATH",
        help="More encoders whose queries may search the index, besides the encoder that made the vectors.",
    )
    add_backend_option(parser)
    add_threads_option(parser)
    add_overwrite_option(parser)


VERBS = (
    Verb(
        "encode",
        "Encode a corpus into vectors. Repeat an interrupted command to continue it.",
        example="tasb encode --encoder tasb --corpus collection.tsv --output vectors",
        add_options=_add_encode,
        report=_report_encode,
    ),
    Verb(
        "export",
        "Export an encoder for ONNX Runtime, which encodes without torch.",
        example="tasb export --encoder tasb:minilm --output minilm-int8 --precision int8",
        add_options=_add_export,
    ),
    Verb(
        "index",
        "Build a Faiss or Lucene index from vectors.",
        example="tasb index --vectors vectors --output index --kind hnsw",
        add_options=_add_index,
    ),
)
