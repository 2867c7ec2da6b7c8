"""The three files of a report, and the commands that write them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from pyserini_tasb.regression.report import escaped, fenced
from pyserini_tasb.regression.report_content import arranged_content, log_tail
from pyserini_tasb.regression.report_page import as_page
from pyserini_tasb.regression.results import read_results
from pyserini_tasb.training.study_report import DOCUMENT
from tests.chromium import HOSTILE
from tests.command_line import tasb

FILES = ["index.html", "junit.xml", "report.md"]


def report(capsys, *arguments: object) -> tuple[int, str, str]:
    status = tasb("report", *arguments)
    return status, *capsys.readouterr()


def copied(reported, folder):
    return shutil.copytree(reported.outputs / "results", folder / "out" / "results").parent


def changed(outputs, name, **keys) -> None:
    path = outputs / "results" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_regress_writes_it_and_still_says_what_failed(reported):
    assert reported.status == 1
    assert sorted(path.name for path in reported.report.iterdir()) == FILES


def test_the_same_report_can_be_made_of_what_lies_there(reported, tmp_path, capsys):
    output = tmp_path / "new" / "report"
    assert report(capsys, "--results", reported.outputs, "--output", output) == (0, f"{output / 'index.html'}\n", "")
    date = r"20\d\d-\d\d-\d\d \d\d:\d\d UTC"
    for name in FILES:
        texts = [re.sub(date, "", (folder / name).read_text()) for folder in (reported.report, output)]
        assert texts[0] == texts[1]


class References(HTMLParser):
    """What a page's attributes refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [
            value for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data", "srcset"}
        ]


def test_the_page_refers_to_nothing_outside(reported):
    page = reported.html
    found = References(page).found
    assert len(found) > 5
    assert [reference for reference in found if not reference.startswith("#")] == []
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert HOSTILE not in page


def test_embedded_data_is_json_without_a_tag(reported):
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', reported.html, re.DOTALL)[1]
    assert "<" not in embedded
    hostile = next(section for section in json.loads(embedded) if section and HOSTILE in section["texts"])
    assert hostile["queries"] == ["1", "2"]
    assert len(hostile["texts"][1]) < 500


def test_counts_are_counts_and_not_tested_for_significance(reported):
    assert "| 4300 (expected 4300, +0) |" in (reported.report / "report.md").read_text()
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', reported.html, re.DOTALL)[1]
    dl19 = next(section for section in json.loads(embedded) if section and "tasb.run" in section["conditions"])
    assert "nDCG@10" in dl19["measures"]
    assert "NumRet" not in dl19["measures"]


def test_junit(reported):
    suites = {suite.get("name"): suite for suite in ET.parse(reported.report / "junit.xml").getroot()}
    outcome = {
        name: tuple(int(suite.get(key)) for key in ("tests", "failures", "skipped")) for name, suite in suites.items()
    }
    assert outcome["dl19-passage.tasb.run"] == (5, 0, 0)
    assert outcome["dl19-passage.tasb"] == (1, 0, 1)
    assert outcome["hostile.one"] == (2, 0, 0)
    assert outcome["hostile.two"] == (2, 1, 0)
    assert outcome["hostile.broken"] == outcome["hostile.failed"] == (1, 1, 0)
    assert "25.2 GB" in suites["dl19-passage.tasb"].find(".//skipped").get("message")
    assert "expected 0.7499" in suites["hostile.two"].find(".//failure").get("message")
    assert "no luck" in suites["hostile.failed"].find(".//failure").text


def test_higher_is_a_failure_unless_allowed(reported, tmp_path, capsys):
    outputs = copied(reported, tmp_path)
    path = outputs / "results" / "dl19-passage.tasb.run.json"
    result = json.loads(path.read_text())
    result["checks"][0] |= {"measured": 0.8, "difference": 0.079, "verdict": "HIGHER"}
    path.write_text(json.dumps(result))
    failures = []
    for allowed in ([], ["--allow-higher", "dl19*"]):
        report(capsys, "--results", outputs, "--output", tmp_path / "report", "--overwrite", *allowed)
        suites = ET.parse(tmp_path / "report" / "junit.xml").getroot()
        failures.append(next(suite for suite in suites if suite.get("name") == "dl19-passage.tasb.run").get("failures"))
        failed = "| tasb.run | **HIGHER** |" in (tmp_path / "report" / "report.md").read_text()
        assert failed == (not allowed)
    assert failures == ["1", "0"]


def test_control_characters_have_no_place_in_xml(reported, tmp_path, capsys):
    outputs = copied(reported, tmp_path)
    changed(outputs, "hostile.failed", failure="before\x00\x1b[31m\ufffeafter")
    report(capsys, "--results", outputs, "--output", tmp_path / "report")
    texts = [failure.text for failure in ET.parse(tmp_path / "report" / "junit.xml").iter("failure")]
    assert "before\ufffd\ufffd[31m\ufffdafter" in texts


def test_markdown(reported):
    text = (reported.report / "report.md").read_text()
    assert "| tasb.run | OK | 0.7210 (expected 0.7210, +0.0000) |" in text
    assert "| hostile.two | **FAIL** |" in text
    outside_of_code = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in outside_of_code
    assert "<img" not in outside_of_code


def test_text_in_markdown_is_nothing_but_text():
    assert escaped("a *b* [c](d) <e> `f`\n| g_h") == r"a \*b\* \[c\](d) &lt;e&gt; \`f\` | g\_h"
    assert fenced("```\nx") == "````\n```\nx\n````"


def test_a_log_is_cut_and_stays_in_its_folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    lines = [b"first", b"10 %\r20 %\r100 %", b"x" * 1_000_000, *(b"line %d" % number for number in range(30)), b"\xff"]
    (folder / "log").write_bytes(b"\n".join(lines))
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    tail = log_tail(folder, "log").splitlines()
    assert tail[-2:] == ["line 29", "\ufffd"]
    assert len(tail[0]) < 450
    assert log_tail(folder, "../secret") == log_tail(folder, str(tmp_path / "secret")) == log_tail(folder, "link") == ""
    assert log_tail(folder, "no such log") == ""


def test_topics_outside_are_not_looked_for_in_pyserini(reported, tmp_path, monkeypatch):
    """A results file may come from elsewhere, and name anything."""
    monkeypatch.setitem(sys.modules, "pyserini.search", None)
    outputs = copied(reported, tmp_path)
    for name in ("hostile.made", "hostile.one", "hostile.two"):
        changed(outputs, name, topics={"name": "hostile-topics", "topics": "beir-v1.0.0-scifact-test", "qrels": "x"})
    page = as_page(arranged_content(read_results(outputs), outputs))
    assert "window.hacked=1" in page  # still in descriptions, escaped
    assert '"texts":["",""]' in page


@pytest.mark.parametrize(
    ("text", "found"),
    [("{", "Invalid JSON"), ("{}", "name: Field required"), ('{"name": 5}', "name: Input should be a valid string")],
)
def test_a_damaged_result_is_named(reported, tmp_path, capsys, text, found):
    outputs = copied(reported, tmp_path)
    (outputs / "results" / "hostile.one.json").write_text(text)
    status, out, err = report(capsys, "--results", outputs, "--output", tmp_path / "report")
    assert (status, out) == (2, "")
    assert "hostile.one.json" in err
    assert found in err
    assert not (tmp_path / "report").exists()


def test_no_results(tmp_path, capsys):
    status, _, err = report(capsys, "--results", tmp_path, "--output", tmp_path / "report")
    assert status == 2
    assert "found:    none" in err


def test_studies_are_sections_of_the_page(reported, measured_study, tmp_path, capsys):
    (tmp_path / DOCUMENT).write_text(measured_study.model_dump_json())
    output = tmp_path / "report"
    assert report(capsys, "--results", reported.outputs, "--studies", tmp_path, "--output", output)[0] == 0
    page, text = ((output / name).read_text() for name in ("index.html", "report.md"))
    entry = next(entry for entry in measured_study.entries if entry.name == "one+tas")
    mean, deviation = sum(entry.values[0]) / 2, abs(entry.values[0][0] - entry.values[0][1]) / 2**0.5
    assert re.search(rf">{mean:.4f}<sup>br</sup></span><span class=\"beside\">± {deviation:.4f}<", page)
    assert f"| {mean:.4f} ± {deviation:.4f}<sup>br</sup> |" in text
    assert page.count('<figure role="img" aria-label="dl19: nDCG@10 of the study study"><svg') == 1
    assert HOSTILE not in page
    assert HOSTILE not in text


def test_of_studies_alone(measured_study, tmp_path, capsys):
    (tmp_path / DOCUMENT).write_text(measured_study.model_dump_json())
    output = tmp_path / "report"
    assert report(capsys, "--studies", tmp_path, "--output", output)[0] == 0
    page, text = ((output / name).read_text() for name in ("index.html", "report.md"))
    assert "<h1>Studies</h1>" in page
    assert "Table 6" not in page + text
    assert text.startswith("# Studies\n\n20")
    assert list(ET.parse(output / "junit.xml").getroot()) == []


@pytest.mark.parametrize("text", [None, "{", '{"name": "x"}'])
def test_a_folder_that_is_no_study(reported, tmp_path, capsys, text):
    if text is not None:
        (tmp_path / DOCUMENT).write_text(text)
    status, _, err = report(capsys, "--results", reported.outputs, "--studies", tmp_path, "--output", tmp_path / "r")
    assert status == 2
    assert "expected: a study's results" in err
