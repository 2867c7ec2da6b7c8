"""The verbs that fuse and evaluate: fuse, tune, evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import add_remove_query_option, add_set_option, at_least_one, at_least_zero
from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse


def _add_fuse(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--recipe", metavar="NAME|PATH", help="e.g. tasb+bm25 (fusion/README.md)")
    how.add_argument("--method", metavar="NAME", help="linear, convex, rrf, combsum, … (docs/fusion.md)")
    _add_runs(parser)
    parser.add_argument("--output", required=True, metavar="RUN", help="the fused run; gzip if named ….gz")
    parser.add_argument("--format", choices=("trec", "msmarco"), default="trec", help="default: %(default)s")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="one a run, over the recipe's")
    parser.add_argument("--normalization", metavar="NAME", help="with --method: none, min-max, z-score, …")
    parser.add_argument(
        "--missing", metavar="RULE", help="with --method, for documents a run lacks: minimum, zero, theoretical, drop"
    )
    parser.add_argument(
        "--minimums", nargs="+", type=float, metavar="S", help="with --method: the lowest possible score of each run"
    )
    parser.add_argument("--rrf-k", type=float, metavar="K", help="with --method rrf (default: 60)")
    parser.add_argument("--depth", type=int, metavar="N", help="with --method: hits taken of each run (default: 1000)")
    parser.add_argument("--output-depth", type=int, metavar="N", help="with --method: hits kept (default: 1000)")
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the recipe's name)")
    add_set_option(parser)


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help="what to tune the weights of")
    _add_runs(parser)
    parser.add_argument(
        "--qrels", required=True, nargs="+", metavar="NAME|PATH", help="to tune on; of several, --runs has each one's"
    )
    parser.add_argument("--measure", default="nDCG@10", metavar="MEASURE", help="default: %(default)s")
    parser.add_argument("--output", required=True, metavar="RECIPE.yaml", help="beside it, the curves as .png and .csv")
    parser.add_argument("--name", metavar="NAME", help="of the tuned recipe (default: that of --output)")
    parser.add_argument(
        "--grid", metavar="FROM:TO:STEP", help="weights to try (default: 0:2:0.005; for convex, the second's share)"
    )
    parser.add_argument(
        "--search",
        choices=("coordinate", "random"),
        default="coordinate",
        help="with three runs or more (default: %(default)s)",
    )
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="of random search (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of folds and random search (default: %(default)s)")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--folds", type=int, metavar="K", help="of cross-validation by query (default: 5)")
    held_out.add_argument("--train-queries", metavar="FILE", help="qids to tune on; the others are tested on")
    held_out.add_argument(
        "--test-qrels", nargs="+", metavar="NAME|PATH", help="other topics to test on, with --test-runs"
    )
    parser.add_argument("--test-runs", nargs="+", metavar="NAME|PATH", help="in the order of --runs")
    parser.add_argument("--allow-overlap", action="store_true", help="test on queries that were tuned on, too")
    add_set_option(parser)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", required=True, nargs="+", metavar="NAME|PATH", help="in the recipe's order, e.g. dl19-passage.tasb"
    )
    add_remove_query_option(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--seed", type=at_least_zero, metavar="N", help="of the randomisation test (default: 0)")
    parser.add_argument("--details", action="store_true", help="intervals, effect sizes, p, wins, ties and losses")
    parser.add_argument("--per-query", type=at_least_one, metavar="N", help="show the N queries that changed most")
    parser.add_argument("--topics", metavar="NAME|PATH", help="texts of these queries (default: bundled ones)")


VERBS = (
    Verb(
        "fuse",
        "Fuse several runs into one (docs/fusion.md).",
        example="tasb fuse --recipe tasb+bm25 --runs dense.txt bm25.txt --output fused.txt",
        add_options=_add_fuse,
        old="pyserini_tasb.fusion.fuse:run",
    ),
    Verb(
        "tune",
        "Find the weights of a fusion by cross-validation.",
        example="tasb tune --recipe tasb+bm25 --runs dense.txt bm25.txt --qrels dl19-passage --output tuned.yaml",
        add_options=_add_tune,
        old="pyserini_tasb.fusion.tuning:run",
    ),
    Verb(
        "evaluate",
        "Score runs as trec_eval does, and test their differences.",
        example="tasb evaluate --qrels dl19-passage --runs dl19-passage.tasb run.txt --baseline run.txt",
        add_options=_add_evaluate,
        old="pyserini_tasb.evaluation.evaluate:run",
    ),
)
