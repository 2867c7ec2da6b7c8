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
from pyserini_tasb.cli.verbs import Verb

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
        help="The method, instead of a recipe: linear, convex, rrf, combsum, … (`tasb list fusion-methods`), or your "
        "own as module:name.",
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
        help="With --method: make scores comparable by min-max, z-score, … (`tasb list normalizations`), or by your "
        "own as module:name (default: none).",
    )
    parser.add_argument(
        "--missing",
        metavar="RULE",
        help="With --method: the score that a document gets from a run that lacks it: minimum, zero, theoretical, "
        "drop, … (`tasb list missing`; default: the method's).",
    )
    parser.add_argument(
        "--minimums",
        nargs="+",
        type=float,
        metavar="S",
        help="With --method: the lowest score that each run's model can give, for theoretical and theoretical-min.",
    )
    parser.add_argument(
        "--rrf-k", type=float, metavar="K", help="With --method rrf: the k of its equation (default: 60)."
    )
    parser.add_argument(
        "--depth", type=int, metavar="N", help="With --method: take N documents of each list (default: 1000)."
    )
    parser.add_argument(
        "--hits", type=int, metavar="N", help="With --method: keep N documents for each query (default: 1000)."
    )
    parser.add_argument(
        "--tag",
        metavar="TAG",
        help="The last column of the run (default: the recipe's name, or tasb.METHOD).",
    )
    add_set_option(parser)
    add_overwrite_option(parser)


def _report_fuse(run: FusedRun, options: argparse.Namespace) -> int:
    said = run.fusion.described(len(run.inputs))
    print(f"{options.output}: {run.hits:,} hits of {len(run.inputs)} runs, {said}")
    return 0


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help=RECIPE)
    _add_runs(parser)
    parser.add_argument(
        "--qrels",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help=f"{QRELS} If there are several, --runs has the runs of the first, then those of the second, and so on.",
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
        help="A new file for the tuned recipe. The curves come beside it as .png and .csv; - is standard output, which "
        "gets no curves.",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="The name of the tuned recipe (default: that of the file; of -, tuned)."
    )
    parser.add_argument(
        "--grid",
        metavar="FROM:TO:STEP",
        help="The weights to try (default: 0:2:0.005, and 0:2:0.05 with three runs or more). For the method convex, "
        "they are the share of the second run.",
    )
    parser.add_argument(
        "--search",
        choices=("coordinate", "random"),
        default="coordinate",
        help="With three runs or more: try one weight after the other, or all at random (default: %(default)s).",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="Try N choices of weights in random search (default: %(default)s).",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The seed of folds and of random search (default: %(default)s)."
    )
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--folds", type=int, metavar="K", help="Hold out each of K parts of the queries in turn (default: 5)."
    )
    held_out.add_argument(
        "--train-queries",
        metavar="FILE",
        help="Tune on the query ids in this file, one a line, and test on all others.",
    )
    held_out.add_argument(
        "--test-qrels",
        nargs="+",
        metavar="NAME|PATH",
        help="Test on the judgments of other topics, whose runs are in --test-runs.",
    )
    parser.add_argument(
        "--test-runs", nargs="+", metavar="NAME|PATH", help="The runs of --test-qrels, in the order of --runs."
    )
    parser.add_argument("--allow-overlap", action="store_true", help="Allow tests on queries that were tuned on.")
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
        help="The measures, as ir-measures writes them, such as AP(rel=2)@1000 (default: those customary for the "
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
    compared.add_argument("--baseline", metavar="NAME|PATH", help="The run to test all others against.")
    compared.add_argument(
        "--all-pairs",
        action="store_true",
        help="Test each run against each. Letters name the runs that a run is better than.",
    )
    parser.add_argument(
        "--test",
        choices=("t", "randomisation"),
        help="The test: Student's t or a randomisation test, both paired and two-sided (default: t).",
    )
    parser.add_argument(
        "--seed", type=at_least_zero, metavar="N", help="The seed of the randomisation test (default: 0)."
    )
    parser.add_argument(
        "--details", action="store_true", help="Show confidence intervals, effect sizes, p, wins, ties and losses."
    )
    parser.add_argument("--per-query", type=at_least_one, metavar="N", help="Show the N queries that changed most.")
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="With --per-query: take the queries' texts from here: a name, a file, or READER:PATH (default: the "
        "bundled topics of the judgments' name).",
    )


def _report_evaluate(comparison: Comparison, options: argparse.Namespace) -> int:
    if options.json:
        print(comparison.to_json())
        return 0
    report = comparison.to_markdown() if options.markdown else repr(comparison)
    # Names and topics may hold what stdout cannot print.
    encoding = sys.stdout.encoding or "ascii"
    print(report.encode(encoding, "backslashreplace").decode(encoding))
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
        "Find the weights of a fusion by cross-validation.",
        example="tasb tune --recipe tasb+bm25 --runs dense.txt bm25.txt --qrels dl19-passage --output tuned.yaml",
        add_options=_add_tune,
    ),
    Verb(
        "evaluate",
        "Score runs as trec_eval does, and test their differences.",
        example="tasb evaluate --qrels dl19-passage --runs dl19-passage.tasb run.txt --baseline run.txt",
        add_options=_add_evaluate,
        report=_report_evaluate,
        printing=("json", "markdown"),
    ),
)
