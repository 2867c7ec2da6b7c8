"""Arguments of `tasb report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_report_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(
        verbs,
        "report",
        "pyserini_tasb.regress.report.command:run",
        "a page of what `tasb regress` and `tasb study` left (docs/regressions.md)",
    )
    parser.add_argument(
        "--results", metavar="DIR", help="`--output` of `tasb regress` (default: regress-out; with --studies, none)"
    )
    parser.add_argument("--studies", nargs="+", default=[], metavar="DIR", help="`output` of studies")
    parser.add_argument(
        "--allow-higher", nargs="+", default=[], metavar="GLOB", help="regressions whose higher values are explained"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="gets index.html, report.md and junit.xml")
