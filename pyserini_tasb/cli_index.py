"""Arguments of the verbs around an index: `tasb index`, `tasb search`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_encoding import add_backend_option

if TYPE_CHECKING:
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_index_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_index(verb(verbs, "index", "pyserini_tasb.index.command:run", "vectors to a Faiss or Lucene index"))
    _add_search(verb(verbs, "search", "pyserini_tasb.pipelines.search.command:run", "search Faiss indexes as one"))


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
    parser.add_argument("--queries", metavar="NAME|PATH", help="topics to measure it with, encoded by --encoder")
    parser.add_argument("--encoder", metavar="NAME", help="of --queries")
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


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", required=True, nargs="+", metavar="DIR", help="Faiss folders; several are one index")
    parser.add_argument("--encoder", required=True, metavar="NAME", help="tasb, tasb:NAME, or a model's path")
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="RUN")
    parser.add_argument("--output-format", choices=("trec", "msmarco"), default="trec", help="default: %(default)s")
    parser.add_argument("--hits", type=at_least_one, default=1_000, metavar="K", help="default: %(default)s")
    parser.add_argument(
        "--batch-size", type=at_least_one, default=64, metavar="N", help="queries (default: %(default)s)"
    )
    add_remove_query_option(parser)
    parser.add_argument("--in-memory", action="store_true", help="read each index whole instead of mapping its file")
    add_allow_other_encoder_option(parser)
    parser.add_argument("--latency", action="store_true", help="measure encoding and search in batches of 1, 10, 2000")
    parser.add_argument(
        "--latency-queries",
        metavar="NAME|PATH",
        help="topics that --latency times (default: --topics); each text counts once",
    )
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the encoder's name)")
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of the encoder (default: %(default)s)")
    add_backend_option(parser)
    add_threads_option(parser)


def add_allow_other_encoder_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-other-encoder`, for a verb that opens an index with a query encoder."""
    parser.add_argument(
        "--allow-other-encoder",
        action="store_true",
        help="search with an encoder that the index does not list, although its scores may mean nothing",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """`--threads`, for a verb that searches."""
    parser.add_argument("--threads", type=at_least_one, metavar="N", help="default: the cores this process may use")


def add_remove_query_option(parser: argparse.ArgumentParser) -> None:
    """`--remove-query`, for a verb that makes or reads runs."""
    parser.add_argument(
        "--remove-query",
        action="store_true",
        help="drop from a query's documents the one whose id is the query's. Use it where queries are documents of the "
        "collection (ArguAna, Quora, CQADupStack); not where both are numbered independently (Cranfield)",
    )


def at_least_one(text: str) -> int:
    """A number of things."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number
