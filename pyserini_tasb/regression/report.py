"""`report`: the results of `regress` and `study`, as HTML, Markdown and JUnit XML."""

from __future__ import annotations

import contextlib
import html
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pyserini_tasb.outputs import new_files, require_folder
from pyserini_tasb.regression.report_content import arranged_content, cut, measured_values, study_rows
from pyserini_tasb.regression.report_page import as_page
from pyserini_tasb.regression.results import PAGE, REPORT, check_values, read_results
from pyserini_tasb.regression.verdicts import DECIMALS, Verdict, as_printed
from pyserini_tasb.results import FileResult
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.training.study_report import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyserini_tasb.regression.report_content import Content, PaperTable, Row, Section, StudyCell
    from pyserini_tasb.regression.verdicts import Check
    from pyserini_tasb.results import StrPath
    from pyserini_tasb.training.study_report import StudyDocument


RESULTS = "regress-out"  # the default `output` of `regress`


@dataclass(frozen=True)
class Report(FileResult):
    """A report. Its path is that of the page; the Markdown and the JUnit XML are in the same folder."""

    @property
    def summary(self) -> str:
        """The path of the page."""
        return str(self.path)


def report(
    results: StrPath | None = None,
    *,
    studies: StrPath | Sequence[StrPath] = (),
    allow_higher: Sequence[str] = (),
    output: StrPath,
    overwrite: bool = False,
) -> Report:
    """Report the results of `regress` and `study` as a page, as Markdown and as JUnit XML. Nothing runs again.

    Args:
        results: the result of `regress`, or its folder of outputs; by default `regress-out`, or none if `studies` are
            given.
        studies: the `output` folders of studies.
        allow_higher: patterns of names of regressions in which values above the expected ones are accepted.
        output: the folder for index.html, report.md and junit.xml.
        overwrite: replace a report in `output`, once the new one is complete.

    Raises:
        TasbError: there are no results, a file is damaged, or the folder cannot be written to.
    """
    folder = Path(results or RESULTS)
    studies = (studies,) if isinstance(studies, str | os.PathLike) else studies
    with new_report(Path(output), overwrite=overwrite) as write:
        found = [] if results is None and studies else read_results(folder)
        documents = [read_document(Path(study)) for study in studies]
        return Report(write(arranged_content(found, folder, studies=documents, allowed=allow_higher)))


@contextlib.contextmanager
def new_report(folder: Path, *, overwrite: bool = False, name: str = "output") -> Iterator[Callable[[Content], Path]]:
    """Yield what writes a report into a folder and returns its page; it is there at the end of the block.

    Args:
        folder: is made if there is none.
        overwrite: replace an existing report.
        name: the argument that the user named the folder by, for errors.

    Raises:
        TasbError: there is a report, or the folder cannot be made or written to.
    """
    require_folder(folder, name=name)
    with new_files([folder / each for each in REPORT], overwrite=overwrite, name=name) as files:

        def write(content: Content) -> Path:
            for file, written in zip(files, (as_page, as_markdown, as_junit), strict=True):
                file.write(written(content))
            return folder / PAGE

        yield write


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
            for row in study_rows(study)
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


# XML 1.0 has no place for these, not even as references.
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(content: Content) -> str:
    """FAIL and HIGHER are failures, unless higher values are allowed; MISSING is skipped. Citations are left out."""
    suites = ET.Element("testsuites", name="tasb regress")
    for section in content.sections:
        for row in section.rows:
            _add_suite(suites, row)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _add_suite(suites: ET.Element, row: Row) -> None:
    result = row.result
    suite = ET.SubElement(suites, "testsuite", name=_text(result.name), timestamp=_text(result.date))
    if result.failure is not None:
        failure = ET.SubElement(_case(suite, result.name, "run"), "failure", message="no numbers")
        failure.text = _text(result.failure)
    elif result.needs:
        needs = "\n".join(str(need) for need in result.needs)
        ET.SubElement(_case(suite, result.name, "run"), "skipped", message=_text(needs))
    judged = [check for check in result.checks if check.verdict is not None]
    for check in judged:
        # One measure can have values of several sources.
        source = f" ({check.source.kind}: {check.source.reference})" if check.source else ""
        case = _case(suite, result.name, f"{check.measure}{source}")
        if check.verdict is Verdict.FAIL or (check.verdict is Verdict.HIGHER and not row.allowed):
            failure = ET.SubElement(case, "failure", type=str(check.verdict), message=_text(check_values(check)))
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(_having(cases, "failure")))
    suite.set("skipped", str(_having(cases, "skipped")))
    suite.set("time", f"{row.seconds:.1f}")


def _case(suite: ET.Element, condition: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_text(condition), name=_text(name))


def _having(cases: Sequence[ET.Element], tag: str) -> int:
    return sum(case.find(tag) is not None for case in cases)


def _text(text: str) -> str:
    return NOT_IN_XML.sub("\ufffd", text)
