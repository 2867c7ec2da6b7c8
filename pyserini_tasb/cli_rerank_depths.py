"""Arguments of `tasb rerank-depths`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_index import add_remove_query_option

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_rerank_depths_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(
        verbs,
        "rerank-depths",
        "pyserini_tasb.pipelines.rerank_depths.command:run",
        "a measure at each depth of re-ranking (docs/rerank.md)",
    )
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help="e.g. dl19-passage")
    parser.add_argument(
        "--first-stage",
        required=True,
        nargs="+",
        action="append",
        metavar="NAME|PATH",
        help="a run, and what `tasb rerank` made of it with each model; may be given several times",
    )
    add_remove_query_option(parser)
    parser.add_argument("--measure", default="nDCG@10", metavar="MEASURE", help="default: %(default)s")
    parser.add_argument(
        "--depths",
        type=int,
        nargs="+",
        default=[10, 20, 50, 100, 200, 500, 1_000],
        metavar="K",
        help="default: 10 20 50 100 200 500 1000",
    )
    parser.add_argument("--output", required=True, metavar="PICTURE.png", help="beside it, the same as .csv")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
