"""Arguments of the verb that searches and fuses: `tasb hybrid`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_encoding import add_backend_option
from pyserini_tasb.cli_index import (
    add_allow_other_encoder_option,
    add_remove_query_option,
    add_threads_option,
    at_least_one,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_hybrid_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "hybrid", "pyserini_tasb.pipelines.hybrid.command:run", "search a recipe's indexes, and fuse")
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help="e.g. tasb+bm25 (fusion/README.md)")
    parser.add_argument(
        "--dense-index",
        nargs="+",
        default=[],
        metavar="DIR|NAME",
        help="Faiss folder or Lucene index of vectors, one for each dense input (default: the recipe's)",
    )
    parser.add_argument(
        "--sparse-index",
        nargs="+",
        default=[],
        metavar="DIR|NAME",
        help="Lucene index, one for each bm25, doct5query or impact input, in the recipe's order (default: its own)",
    )
    parser.add_argument(
        "--encoder", nargs="+", default=[], metavar="NAME", help="one for each dense input (default: the recipe's)"
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="RUN", help="the fused run; gzip if named ….gz")
    parser.add_argument("--output-format", choices=("trec", "msmarco"), default="trec", help="default: %(default)s")
    parser.add_argument("--hits", type=at_least_one, metavar="K", help="of each index (default: the recipe's depth)")
    add_remove_query_option(parser)
    parser.add_argument(
        "--batch-size", type=at_least_one, default=64, metavar="N", help="queries (default: %(default)s)"
    )
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the recipe's name)")
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of the encoder (default: %(default)s)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the recipe's")
    add_allow_other_encoder_option(parser)
    add_backend_option(parser)
    add_threads_option(parser)
