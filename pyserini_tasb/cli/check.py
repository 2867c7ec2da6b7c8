"""The verbs that check: regress, report, doctor, list, demo."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import add_overwrite_option
from pyserini_tasb.cli.verbs import Verb, say

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.cli.listing import Listing
    from pyserini_tasb.demo import Demo
    from pyserini_tasb.environment.doctor import Findings
    from pyserini_tasb.regression.regress import Regressions

CHECK_FAILED, COULD_NOT_RUN = 1, 2  # exit statuses


def _add_regress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        default=(),
        metavar="NAME|PATH",
        help="A regression's name, such as dl19-passage.tasb, or the path of its file (regressions/README.md).",
    )
    parser.add_argument("--all", action="store_true", help="Select every regression.")
    parser.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="GLOB",
        help="Select the regressions whose names match a pattern, such as 'dl19*'. May be given again.",
    )
    parser.add_argument(
        "--2cr",
        dest="two_cr",
        action="append",
        default=[],
        metavar="NAME:CONDITION",
        help="Select a condition (a search with its settings) of Pyserini's own, such as "
        "msmarco-v1-passage:distilbert-kd-tasb-pytorch. May be given again.",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="List the conditions and run nothing.")
    instead.add_argument(
        "--dry-run", action="store_true", help="Print the commands, their sizes and what is missing, and run nothing."
    )
    instead.add_argument(
        "--export-2cr",
        metavar="FILE",
        help="Write the conditions to a new file in the format of Pyserini's two-click reproductions (2CR) and run "
        "nothing. Conditions that this format cannot express are left out; - is standard output.",
    )
    parser.add_argument(
        "--stage", choices=("index", "search", "fuse", "rerank", "evaluate"), help="Run only the stages of this kind."
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="Run N conditions at the same time (default: %(default)s)."
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="Run every stage again (default: skip stages that finished before with the same inputs, commands and "
        "versions). Also replace existing files at --export-2cr and --report.",
    )
    parser.add_argument("--download", action="store_true", help="Let Pyserini download missing files of any size.")
    parser.add_argument(
        "--allow-commands",
        action="store_true",
        help="Allow any command in regression files of others. Do this only if you trust their authors.",
    )
    _add_allow_higher(parser)
    parser.add_argument(
        "--output",
        default="regress-out",
        metavar="DIR",
        help="The folder for everything that the run writes (default: %(default)s).",
    )
    parser.add_argument(
        "--report",
        metavar="DIR",
        help="Also write a report on these conditions into this folder: index.html, report.md and junit.xml.",
    )
    parser.add_argument(
        "--recorded",
        metavar="DIR",
        help="The folder with the values that earlier runs measured (default: a folder in your home).",
    )


def _report_regress(result: Regressions, _options: argparse.Namespace) -> int:
    say(result.summary)
    return exit_status(result)


def exit_status(result: Regressions) -> int:
    """0 if all checks are OK or recorded; 1 if one failed; 2 if none failed and something could not run."""
    if result.failed:
        return CHECK_FAILED
    return COULD_NOT_RUN if result.missing else 0


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results",
        metavar="DIR",
        help="The --output folder of `tasb regress` (default: regress-out; with --studies, none).",
    )
    parser.add_argument(
        "--studies",
        nargs="+",
        default=[],
        metavar="DIR",
        help="The folders of studies: `output` in the YAML files for `tasb study`.",
    )
    _add_allow_higher(parser)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="The folder for index.html, report.md and junit.xml."
    )
    add_overwrite_option(parser)


def _add_allow_higher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-higher",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="Accept values that are higher than expected in the regressions whose names match a pattern, such as "
        "'dl19*'. Use it only if you can explain the difference.",
    )


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        default=(),
        metavar="INDEX",
        help="Check these indexes and vector folders instead of the machine, by reading all their files.",
    )
    _add_json(parser)


def _report_doctor(result: Findings, options: argparse.Namespace) -> int:
    say(json.dumps([asdict(each) for each in result.findings], indent=2) if options.json else result.summary)
    return 1 if result.problems else 0


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "axis", nargs="?", metavar="AXIS", help="The kind of names to list, such as encoders (default: list the kinds)."
    )
    _add_json(parser)


def _report_list(result: Listing, options: argparse.Namespace) -> int:
    say(json.dumps(result.rows, indent=2) if options.json else result.summary)
    return 0


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        default="demo-out",
        metavar="DIR",
        help="The folder for everything that the demo writes (default: %(default)s). Finished steps do not run again.",
    )


def _report_demo(result: Demo, _options: argparse.Namespace) -> int:
    say(result.summary)
    return 0 if result.matches else CHECK_FAILED


VERBS = (
    Verb(
        "regress",
        "Run published experiments by name and check their scores (docs/regressions.md).",
        example="tasb regress dl19-passage.tasb --report page",
        add_options=_add_regress,
        report=_report_regress,
    ),
    Verb(
        "report",
        "Write a page that reports the results of `tasb regress` and `tasb study`.",
        example="tasb report --results regress-out --output page",
        add_options=_add_report,
    ),
    Verb(
        "doctor",
        "Check this machine or an index, and print the command that fixes each problem.",
        example="tasb doctor",
        add_options=_add_doctor,
        report=_report_doctor,
        printing=("json",),
    ),
    Verb(
        "list",
        "List the names of encoders, fusion methods, losses and more.",
        example="tasb list encoders",
        add_options=_add_list,
        report=_report_list,
        printing=("json",),
        at="pyserini_tasb.cli.listing:listing",
    ),
    Verb(
        "demo",
        "Train a model on CACM, a small collection, in minutes, and search with it.",
        example="tasb demo --output demo-out",
        add_options=_add_demo,
        report=_report_demo,
        at="pyserini_tasb.demo:demo",
    ),
)
