"""The verbs that fuse and evaluate: fuse, tune, evaluate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import add_remove_query_option, add_set_option, at_least_one, at_least_zero
from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.evaluation.comparison import Comparison
    from pyserini_tasb.fusion.fuse import FusedRun


def _add_fuse(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--recipe",
        metavar="NAME|PATH",
        help="The fusion by name, e.g. tasb+bm25, or the path of a YAML file (fusion/README.md).",
    )
    how.add_argument(
        "--method", metavar="NAME", help="Or its method: linear, convex, rrf, combsum, … (docs/fusion.md has them all)."
    )
    _add_runs(parser)
    parser.add_argument("--output", required=True, metavar="RUN", help="The file of the fused run; gzip if named ….gz.")
    parser.add_argument(
        "--output-format",
        choices=("trec", "msmarco"),
        default="trec",
        help="The format of the file (default: %(default)s).",
    )
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="A weight for each run (default: the recipe's, or 1)."
    )
    parser.add_argument(
        "--normalization",
        metavar="NAME",
        help="With --method: how scores are made comparable: none, min-max, z-score, … (default: none).",
    )
    parser.add_argument(
        "--missing",
        metavar="RULE",
        help="With --method: what a document gets from a run that lacks it: minimum, zero, theoretical or drop.",
    )
    parser.add_argument(
        "--minimums",
        nargs="+",
        type=float,
        metavar="S",
        help="With --method: the lowest score that each run's model can give, for theoretical and theoretical-min.",
    )
    parser.add_argument("--rrf-k", type=float, metavar="K", help="With --method rrf: its k (default: 60).")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="With --method: documents taken of each list (default: 1000)."
    )
    parser.add_argument(
        "--hits", type=int, metavar="N", help="With --method: documents kept for each query (default: 1000)."
    )
    parser.add_argument("--tag", metavar="TAG", help="The last column of the run (default: the recipe's name).")
    add_set_option(parser)


def _report_fuse(run: FusedRun, options: argparse.Namespace) -> int:
    said = run.fusion.described(len(run.inputs))
    print(f"{options.output}: {run.hits:,} hits of {len(run.inputs)} runs, {said}")
    return 0


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        required=True,
        metavar="NAME|PATH",
        help="The fusion whose weights are tuned: a name, or the path of a YAML file.",
    )
    _add_runs(parser)
    parser.add_argument(
        "--qrels",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help="The judgments to tune on; if there are several, --runs has the runs of one after those of the other.",
    )
    parser.add_argument(
        "--measure", default="nDCG@10", metavar="MEASURE", help="The measure to tune for (default: %(default)s)."
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="RECIPE.yaml",
        help="The file of the tuned recipe; the curves come beside it as .png and .csv.",
    )
    parser.add_argument("--name", metavar="NAME", help="The name of the tuned recipe (default: that of the file).")
    parser.add_argument(
        "--grid",
        metavar="FROM:TO:STEP",
        help="The weights to try (default: 0:2:0.005, and 0:2:0.05 with three runs or more). For convex, the share of "
        "the second run.",
    )
    parser.add_argument(
        "--search",
        choices=("coordinate", "random"),
        default="coordinate",
        help="With three runs or more: one weight after the other, or at random (default: %(default)s).",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="How many weights random search tries (default: %(default)s).",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The seed of folds and of random search (default: %(default)s)."
    )
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--folds", type=int, metavar="K", help="Hold out each of K parts of the queries in turn (default: 5)."
    )
    held_out.add_argument(
        "--train-queries", metavar="FILE", help="Or tune on the qids in this file, and test on all others."
    )
    held_out.add_argument(
        "--test-qrels", nargs="+", metavar="NAME|PATH", help="Or test on other topics, whose runs are in --test-runs."
    )
    parser.add_argument(
        "--test-runs", nargs="+", metavar="NAME|PATH", help="The runs of --test-qrels, in the order of --runs."
    )
    parser.add_argument("--allow-overlap", action="store_true", help="Test on queries that were tuned on, too.")
    add_set_option(parser)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help="The runs, in the recipe's order: files or names, e.g. dl19-passage.tasb.",
    )
    add_remove_query_option(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--qrels", required=True, metavar="NAME|PATH", help="The judgments: a name, e.g. dl19-passage, or a file."
    )
    parser.add_argument(
        "--runs",
        required=True,
        nargs="+",
        metavar="NAME|PATH",
        help="The runs: files or names, e.g. dl19-passage.tasb.",
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        metavar="MEASURE",
        help="The measures as ir-measures writes them, e.g. AP(rel=2)@1000 (default: those customary for the qrels).",
    )
    add_remove_query_option(parser)
    _add_comparison(parser)
    parser.add_argument("--unjudged", action="store_true", help="Show the share of documents without a judgment.")
    parser.add_argument("--recall-plot", metavar="PNG", help="Draw recall at cutoffs 1 to 1,000.")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="Print JSON, with the value of every query.")
    printed.add_argument("--markdown", action="store_true", help="Print Markdown.")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--baseline", metavar="NAME|PATH", help="The run to test all others against.")
    compared.add_argument(
        "--all-pairs",
        action="store_true",
        help="Or test each run against each; letters name the runs that a run is better than.",
    )
    parser.add_argument(
        "--test", choices=("t", "randomisation"), help="The test; both are paired and two-sided (default: t)."
    )
    parser.add_argument(
        "--seed", type=at_least_zero, metavar="N", help="The seed of the randomisation test (default: 0)."
    )
    parser.add_argument(
        "--details", action="store_true", help="Show intervals, effect sizes, p, wins, ties and losses."
    )
    parser.add_argument("--per-query", type=at_least_one, metavar="N", help="Show the N queries that changed most.")
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="The texts of these queries (default: the bundled ones of the qrels' name).",
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
