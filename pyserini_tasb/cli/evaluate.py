"""The verbs that fuse and evaluate: fuse, tune, evaluate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import (
    OUTPUT_RUN,
    QRELS,
    RECIPE,
    add_output_format_option,
    add_overwrite_option,
    add_remove_query_option,
    add_set_option,
    at_least_one,
    at_least_zero,
)
from pyserini_tasb.cli.verbs import Verb, say

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.evaluation.comparison import Comparison
    from pyserini_tasb.fusion.fuse import FusedRun


def _add_fuse(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--recipe", metavar="NAME|PATH", help=RECIPE)
    how.add_argument(
        "--method",
        metavar="NAME",
        help="The fusion method, instead of a recipe: linear, convex, rrf, combsum, … (`tasb list fusion-methods`), "
        "or your own as module:name.",
    )
    _add_runs(parser)
    parser.add_argument("--output", required=True, metavar="RUN", help=OUTPUT_RUN)
    add_output_format_option(parser)
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="A weight for each run (default: the recipe's, or 1)."
    )
    parser.add_argument(
        "--normalization",
        metavar="NAME",
        help="The way to make scores comparable: min-max, z-score, … (`tasb list normalizations`), or your own as "
        "module:name (with --method; default: none).",
    )
    parser.add_argument(
        "--missing",
        metavar="RULE",
        help="The score of a document that a run lacks: minimum, zero, theoretical, drop, … (`tasb list "
        "missing`; with --method; default: the method's).",
    )
    parser.add_argument(
        "--minimums",
        nargs="+",
        type=float,
        metavar="S",
        help="The lowest score that each run's model can give, for theoretical and theoretical-min (with --method).",
    )
    parser.add_argument(
        "--rrf-k",
        type=float,
        metavar="K",
        help="The constant k of reciprocal rank fusion (with --method rrf; default: 60).",
    )
    parser.add_argument(
        "--depth", type=int, metavar="N", help="Use the N best documents of each run (with --method; default: 1000)."
    )
    parser.add_argument(
        "--hits", type=int, metavar="N", help="Keep the N best documents for each query (with --method; default: 1000)."
    )
    parser.add_argument(
        "--tag",
        metavar="TAG",
        help="The run's name, in the file's last column (default: the recipe's name, or tasb.METHOD).",
    )
    add_set_option(parser)
    add_overwrite_option(parser)


def _report_fuse(run: FusedRun, options: argparse.Namespace) -> int:
    said = run.fusion.described(len(run.inputs))
    say(f"{options.output}: {run.hits:,} hits of {len(run.inputs)} runs, {said}")
    return 0


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help=RECIPE)
    _add_runs(parser)
    parser.add_argument(
        "--qrels",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help=f"{QRELS} With several, --runs has the runs of the first, then those of the second, and so on.",
    )
    parser.add_argument(
        "--measure",
        default="nDCG@10",
        metavar="MEASURE",
        help="The measure to tune for, as ir-measures writes it (default: %(default)s).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="RECIPE.yaml",
        help="A new file for the tuned recipe. The tuning curves go beside it as .png and .csv; - is standard output, "
        "without curves.",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="The name of the tuned recipe (default: the file's name, or tuned for standard output).",
    )
    parser.add_argument(
        "--grid",
        metavar="FROM:TO:STEP",
        help="The weights to try (default: 0:2:0.005, or 0:2:0.05 with three runs or more). For the method convex, "
        "they are the second run's share.",
    )
    parser.add_argument(
        "--search",
        choices=("coordinate", "random"),
        default="coordinate",
        help="The search for three runs or more: one weight after the other, or all at random (default: %(default)s).",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="Try N combinations of weights in a random search (default: %(default)s).",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="The random seed of the folds and of a random search (default: %(default)s).",
    )
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="Cross-validate: divide the queries into K folds and hold out each in turn (default: 5).",
    )
    held_out.add_argument(
        "--train-queries",
        metavar="FILE",
        help="Tune on the queries in this file, one id per line, and test on all others.",
    )
    held_out.add_argument(
        "--test-qrels",
        nargs="+",
        metavar="NAME|PATH",
        help="The judgments of other topics to test on. --test-runs has the runs of these topics.",
    )
    parser.add_argument(
        "--test-runs", nargs="+", metavar="NAME|PATH", help="The runs of --test-qrels, in the order of --runs."
    )
    parser.add_argument("--allow-overlap", action="store_true", help="Allow queries that are in both tuning and test.")
    add_set_option(parser)
    add_overwrite_option(parser)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help="The runs, in the recipe's order: files, or names such as dl19-passage.tasb.",
    )
    add_remove_query_option(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help=QRELS)
    parser.add_argument(
        "--runs",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help="The runs: files, or names such as dl19-passage.tasb.",
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        metavar="MEASURE",
        help="The measures, as ir-measures writes them, such as AP(rel=2)@1000 (default: the usual ones for these "
        "judgments).",
    )
    add_remove_query_option(parser)
    _add_comparison(parser)
    parser.add_argument("--unjudged", action="store_true", help="Show the share of documents without a judgment.")
    parser.add_argument("--recall-plot", metavar="PNG", help="Draw recall at cutoffs from 1 to 1,000 into a new file.")
    add_overwrite_option(parser, "--recall-plot")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="Print JSON, with the value of every query.")
    printed.add_argument("--markdown", action="store_true", help="Print Markdown.")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--baseline", metavar="NAME|PATH", help="The baseline: the run with which all others are compared."
    )
    compared.add_argument(
        "--all-pairs",
        action="store_true",
        help="Compare each run with every other. Letters name the runs that a run is significantly better than.",
    )
    parser.add_argument(
        "--test",
        choices=("t", "randomisation"),
        help="The significance test: Student's t or a randomisation test, both paired and two-sided (default: t).",
    )
    parser.add_argument(
        "--seed", type=at_least_zero, metavar="N", help="The seed of the randomisation test (default: 0)."
    )
    parser.add_argument(
        "--details",
        action="store_true",
        help="Show confidence intervals, effect sizes, p-values, wins, ties and losses.",
    )
    parser.add_argument(
        "--per-query",
        type=at_least_one,
        metavar="N",
        help="Show the N queries whose values differ most from the baseline's (with --baseline).",
    )
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="The queries, whose texts --per-query shows: a name, a file, or READER:PATH (default: the bundled "
        "topics with the name of the judgments).",
    )


def _report_evaluate(comparison: Comparison, options: argparse.Namespace) -> int:
    if options.json:
        print(comparison.to_json())
        return 0
    report = comparison.to_markdown() if options.markdown else repr(comparison)
    # Names and topics may hold what stdout cannot print.
    encoding = sys.stdout.encoding or "ascii"
    say(report.encode(encoding, "backslashreplace").decode(encoding))
    return 0


VERBS = (
    Verb(
        "fuse",
        "Fuse several runs into one (docs/fusion.md).",
        example="tasb fuse --recipe tasb+bm25 --runs dense.txt bm25.txt --output fused.txt",
        add_options=_add_fuse,
        report=_report_fuse,
    ),
    Verb(
        "tune",
        "Tune the weights of a fusion on judged queries, with cross-validation.",
        example="tasb tune --recipe tasb+bm25 --runs dense.txt bm25.txt --qrels dl19-passage --output tuned.yaml",
        add_options=_add_tune,
    ),
    Verb(
        "evaluate",
        "Evaluate runs as trec_eval does, and test their differences for significance.",
        example="tasb evaluate --qrels dl19-passage --runs dl19-passage.tasb run.txt --baseline run.txt",
        add_options=_add_evaluate,
        report=_report_evaluate,
        printing=("json", "markdown"),
    ),
)
