"""`tasb report`: a report of what `tasb regress` and `tasb study` left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.study.document import read_document
from pyserini_tasb.regress.report.content import content_of
from pyserini_tasb.regress.report.saved_results import read_results
from pyserini_tasb.regress.report.writing import write_report

if TYPE_CHECKING:
    import argparse

RESULTS = "regress-out"  # the default --output of `tasb regress`


def run(arguments: argparse.Namespace) -> int:
    """Write it; nothing is run or judged again. Where only studies are named, it is of them alone.

    Raises:
        TasbError: no results, a damaged file, or a folder that cannot be written to.
    """
    folder = Path(arguments.results or RESULTS)
    only_studies = arguments.results is None and arguments.studies
    results = [] if only_studies else read_results(folder)
    studies = [read_document(Path(study)) for study in arguments.studies]
    print(
        write_report(
            content_of(results, folder, studies=studies, allowed=arguments.allow_higher), Path(arguments.output)
        )
    )
    return 0
