"""A report as Markdown: what GitHub shows of a CI job."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.layout import markdown_table
from pyserini_tasb.regress.report.log_tail import cut
from pyserini_tasb.regress.report.paper_table import measured_values
from pyserini_tasb.regress.report.study_table import rows_of
from pyserini_tasb.regress.summary import check_values
from pyserini_tasb.regress.verdicts import DECIMALS, Verdict, as_printed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.pipelines.study.document import StudyDocument
    from pyserini_tasb.regress.checks import Check
    from pyserini_tasb.regress.report.content import Content
    from pyserini_tasb.regress.report.paper_table import PaperTable
    from pyserini_tasb.regress.report.sections import Row, Section
    from pyserini_tasb.regress.report.study_table import StudyCell

NONE = "-"


def as_markdown(content: Content) -> str:
    """Verdicts, values and what failed; the tables of the paper; studies."""
    counted = ", ".join(f"{number} {verdict}" for verdict, number in content.verdicts.items())
    parts = [f"# {content.title}", "; ".join(filter(None, [counted, content.date]))]
    for section in content.sections:
        parts += _section(section)
    for table in content.papers:
        parts += _paper(table, content)
    for study in content.studies:
        parts += _study(study)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.topics)}"
    head = ["condition", "verdict", *(escaped(label) for label in section.measures.values())]
    lines = [
        [escaped(row.label), _verdict(row), *(_cell(row.cells.get(measure)) for measure in section.measures)]
        for row in section.rows
    ]
    yield markdown_table(head, lines)
    for row in section.rows:
        yield from _trouble(row)


def _verdict(row: Row) -> str:
    return f"**{row.verdict}**" if row.failed else row.verdict + (" (allowed)" if row.verdict == Verdict.HIGHER else "")


def _cell(check: Check | None) -> str:
    if check is None:
        return NONE
    measured = as_printed(check.measured, check.measure)
    if check.expected is None or check.difference is None:
        return measured
    expected, off = as_printed(check.expected, check.measure), as_printed(check.difference, check.measure, "+")
    return f"{measured} (expected {expected}, {off})"


def _trouble(row: Row) -> Iterator[str]:
    name = escaped(row.result.name)
    if row.result.failure is not None:
        yield f"{name} has no numbers:"
        yield fenced("\n".join(cut(line) for line in row.result.failure.splitlines()))
    for need in row.result.needs:
        yield f"{name} needs {escaped(str(need))}"
    for check in row.result.checks:
        if check.verdict in (Verdict.FAIL, Verdict.HIGHER):
            yield f"{name}, {escaped(check.measure)}: {escaped(check_values(check))}"


def _paper(table: PaperTable, content: Content) -> Iterator[str]:
    yield f"## {escaped(table.source)}: {escaped(table.description)}"
    columns = [f"{topics} {measure}" for topics, measure in table.columns]
    head = ["system", *table.facts, "checkpoints", *columns]
    lines = []
    for group in table.groups:
        lines.append([f"**{escaped(group.name)}**", *[""] * (len(head) - 1)])
        for row in group.rows:
            about = [*(row.facts or [""] * len(table.facts)), escaped(", ".join(row.checkpoints))]
            if row.cited:
                values = [NONE if value is None else f"*{value:.3f}*" for value in table.cited(row)]
                lines.append([escaped(row.system), *about, *values])
            measured = measured_values(table, row, content.results)
            if any(measured):
                values = [f"{value.value:.{DECIMALS}f}" if value else NONE for value in measured]
                lines.append([f"{escaped(row.system)}, measured here", *about, *values])
    yield markdown_table(head, lines)
    yield "In italics: cited from the paper, not measured here."


def _study(study: StudyDocument) -> Iterator[str]:
    yield f"## Study: {escaped(study.name)}"
    if study.description:
        yield escaped(study.description)
    head = ["", "seeds", *(escaped(" ".join(column)) for column in study.columns)]
    yield markdown_table(
        head,
        [
            [escaped(row.entry.label), str(row.entry.seeds), *(_study_cell(cell) for cell in row.cells)]
            for row in rows_of(study)
        ],
    )
    if study.letters:
        meant = ", ".join(f"{letter} {escaped(meaning)}" for letter, meaning in study.letters.items())
        yield f"Raised letters: significantly better than {meant}; lowered: worse (paired t-test, Holm-corrected)."


def _study_cell(cell: StudyCell | None) -> str:
    if cell is None:
        return NONE
    deviation = "" if cell.deviation is None else f" ± {cell.deviation:.{DECIMALS}f}"
    better = f"<sup>{cell.better}</sup>" if cell.better else ""
    worse = f"<sub>{cell.worse}</sub>" if cell.worse else ""
    return f"{cell.mean:.{DECIMALS}f}{deviation}{better}{worse}"


def escaped(text: str) -> str:
    """Text that is nothing but text in Markdown: no HTML, no emphasis, no links, on one line."""
    return re.sub(r"([\\`*_\[\]~])", r"\\\1", html.escape(" ".join(cut(text).split()), quote=False))


def fenced(text: str) -> str:
    """Text as it is, in a block that nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
