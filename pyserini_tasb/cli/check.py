"""The verbs that check: regress, report, doctor, encoders, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse


def _add_regress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME|PATH", help="e.g. dl19-passage.tasb (regressions/README.md)")
    parser.add_argument("--all", action="store_true", help="every regression there is")
    parser.add_argument("--match", action="append", default=[], metavar="GLOB", help="e.g. 'dl19*'")
    parser.add_argument(
        "--2cr",
        dest="two_cr",
        action="append",
        default=[],
        metavar="NAME:CONDITION",
        help="a condition of Pyserini's own, e.g. msmarco-v1-passage:distilbert-kd-tasb-pytorch",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="only list them")
    instead.add_argument("--dry-run", action="store_true", help="only print commands, sizes and what is missing")
    instead.add_argument(
        "--export-2cr", metavar="FILE", help="only write them as Pyserini's 2CR does, those that it can hold"
    )
    parser.add_argument(
        "--stage", choices=("index", "search", "fuse", "rerank", "evaluate"), help="run only stages of this kind"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="conditions at a time (default: %(default)s)")
    parser.add_argument(
        "--resume", action="store_true", help="keep what finished with the same inputs, command and versions"
    )
    parser.add_argument("--download", action="store_true", help="let Pyserini download what is missing, however big")
    parser.add_argument(
        "--allow-commands",
        action="store_true",
        help="run any command of files from elsewhere, if you trust their authors",
    )
    parser.add_argument(
        "--allow-higher", nargs="+", default=[], metavar="GLOB", help="regressions whose higher values are explained"
    )
    parser.add_argument("--output", default="regress-out", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--report", metavar="DIR", help="gets index.html, report.md and junit.xml of these conditions")
    parser.add_argument("--recorded", metavar="DIR", help="what earlier runs measured (default: in the user's folder)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", metavar="DIR", help="`--output` of `tasb regress` (default: regress-out; with --studies, none)"
    )
    parser.add_argument("--studies", nargs="+", default=[], metavar="DIR", help="`output` of studies")
    parser.add_argument(
        "--allow-higher", nargs="+", default=[], metavar="GLOB", help="regressions whose higher values are explained"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="gets index.html, report.md and junit.xml")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", metavar="INDEX", help="indexes and vector folders to check instead")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="demo-out", metavar="DIR", help="where all goes (default: %(default)s)")


VERBS = (
    Verb(
        "regress",
        "Run named conditions and check their numbers (docs/regressions.md).",
        example="tasb regress dl19-passage.tasb --report page",
        add_options=_add_regress,
        old="pyserini_tasb.regression.regress:run",
    ),
    Verb(
        "report",
        "Make a page of what `tasb regress` and `tasb study` left.",
        example="tasb report --results regress-out --output page",
        add_options=_add_report,
        old="pyserini_tasb.regression.report:run",
    ),
    Verb(
        "doctor",
        "Check this machine, or indexes, and say what to type.",
        example="tasb doctor",
        add_options=_add_doctor,
        old="pyserini_tasb.indexes.check:run",
    ),
    Verb(
        "encoders",
        "List the encoders that have a name; are their weights here?",
        example="tasb encoders",
        add_options=_add_encoders,
        old="pyserini_tasb.cli.encode:print_encoders",
    ),
    Verb(
        "demo",
        "Train on CACM in minutes, and search it.",
        example="tasb demo --output demo-out",
        add_options=_add_demo,
        old="pyserini_tasb.demo:run",
    ),
)
