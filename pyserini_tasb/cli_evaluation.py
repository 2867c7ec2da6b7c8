"""Arguments of the verb that scores and compares runs: `tasb evaluate`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_index import add_remove_query_option

if TYPE_CHECKING:
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_evaluation_verbs(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "evaluate", "pyserini_tasb.evaluate.command:run", "score runs as trec_eval does; compare them")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help="e.g. dl19-passage, or a qrels file")
    parser.add_argument("--runs", required=True, nargs="+", metavar="NAME|PATH", help="e.g. dl19-passage.tasb or files")
    parser.add_argument("--measures", nargs="+", metavar="MEASURE", help="default: by the qrels; e.g. AP(rel=2)@1000")
    add_remove_query_option(parser)
    _add_comparison(parser)
    parser.add_argument("--unjudged", action="store_true", help="show the share of documents without a judgment")
    parser.add_argument("--recall-plot", metavar="PNG", help="draw recall at cutoffs 1 to 1,000")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print JSON, with the value of every query")
    printed.add_argument("--markdown", action="store_true", help="print Markdown")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--baseline", metavar="NAME|PATH", help="a run to test all others against")
    compared.add_argument(
        "--all-pairs", action="store_true", help="test each run against each; letters for those a run is better than"
    )
    parser.add_argument("--test", choices=("t", "randomisation"), help="paired; two-sided (default: t)")
    parser.add_argument("--seed", type=_natural, metavar="N", help="of the randomisation test (default: 0)")
    parser.add_argument("--details", action="store_true", help="intervals, effect sizes, p, wins, ties and losses")
    parser.add_argument("--per-query", type=_positive, metavar="N", help="show the N queries that changed most")
    parser.add_argument("--topics", metavar="NAME|PATH", help="texts of these queries (default: bundled ones)")


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number
