"""What all kinds of reports are made of."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.regress.report.paper_table import paper_tables
from pyserini_tasb.regress.report.sections import DONE, sections_of
from pyserini_tasb.regress.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.pipelines.study.document import StudyDocument
    from pyserini_tasb.regress.report.paper_table import PaperTable
    from pyserini_tasb.regress.report.sections import Section
    from pyserini_tasb.regress.result import Result


@dataclass(frozen=True)
class Content:
    """Of a report.

    Args:
        folder: of the outputs, where logs are.
        sections: conditions by topic set.
        papers: tables of the paper; none where no condition is.
        studies: measured by `tasb study`.
        date: of the report, UTC.
    """

    folder: Path
    sections: tuple[Section, ...]
    papers: tuple[PaperTable, ...]
    studies: tuple[StudyDocument, ...]
    date: str

    @property
    def title(self) -> str:
        """What it is about."""
        return "Regressions" if self.sections else "Studies"

    @property
    def results(self) -> dict[str, Result]:
        """Name → result."""
        return {row.result.name: row.result for section in self.sections for row in section.rows}

    @property
    def verdicts(self) -> dict[str, int]:
        """How many conditions got which, the worst first."""
        counted = Counter(row.verdict for section in self.sections for row in section.rows)
        return {verdict: counted[verdict] for verdict in (*reversed(Verdict), DONE) if counted[verdict]}


def content_of(
    results: Sequence[Result], folder: Path, *, studies: Sequence[StudyDocument] = (), allowed: Sequence[str] = ()
) -> Content:
    """Results and studies, put in order.

    Args:
        results: of conditions.
        folder: of their outputs.
        studies: what `tasb study` left.
        allowed: patterns of names of conditions whose values may be higher.

    Raises:
        TasbError: a table of the paper is faulty.
    """
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    papers = tuple(paper_tables()) if results else ()
    return Content(folder, tuple(sections_of(results, allowed)), papers, tuple(studies), now)
