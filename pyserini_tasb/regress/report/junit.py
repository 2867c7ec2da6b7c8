"""A report as JUnit XML: a suite for each condition, a test case for each check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pyserini_tasb.regress.summary import check_values
from pyserini_tasb.regress.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.regress.report.content import Content
    from pyserini_tasb.regress.report.sections import Row

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
