"""A report of real runs, and of conditions whose files try to be more than text; Chromium to look at it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.training.study_report import compare, study_document
from tests.command_line import tasb
from tests.regression.conftest import STAGE_MODULE, Small
from tests.training.study.test_comparison import entries, study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from pyserini_tasb.training.study_report import StudyDocument


HOSTILE = (
    """</script></pre><script>window.hacked=1</script><img src="http://127.0.0.1:9/x" onerror='window.hacked=2'>"""
)
BUNDLED = ["dl19-passage.tasb.run", "dl19-passage.bm25.run", "dl20-passage.tasb.run", "dl20-passage.bm25.run"]


@dataclass(frozen=True)
class Reported:
    """What `tasb regress --report` left.

    Args:
        status: of the command.
        outputs: its folder of outputs.
        report: its folder of the report.
    """

    status: int
    outputs: Path
    report: Path

    @property
    def html(self) -> str:
        return (self.report / "index.html").read_text()


@pytest.fixture(scope="session")
def reported(tmp_path_factory) -> Reported:
    """OK, RECORDED, MISSING and FAIL: by a value, by a command, by a run that is none; look, and leave it as it is."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "counting.py").write_text(STAGE_MODULE)
    outputs, report = folder / "out", folder / "report"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYSERINI_TASB_HOME", str(folder / "home"))
        environment.setenv("PYSERINI_CACHE", str(folder / "cache"))
        environment.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path(__file__).parents[3]}")
        names = [*BUNDLED, "dl19-passage.tasb", *map(str, _hostile_conditions(Small(folder)))]
        status = tasb("regress", *names, "--output", outputs, "--report", report, "--allow-commands")
    return Reported(status, outputs, report)


def _hostile_conditions(small: Small) -> list[Path]:
    """Two on topics whose texts are HTML, and three that fail, with HTML and a huge line in what they say."""
    topics = small.write("hostile.tsv", f"1\t{HOSTILE}\n2\t{'long ' * 100_000}\n")
    arguments = [("RR@10", "-c -M 10 -m recip_rank"), ("R@10", "-c -m recall.10")]
    small.topics = small.write_yaml(
        "hostile-topics",
        topics=str(topics),
        qrels=str(small.qrels),
        measures=[{"measure": name, "label": f"<i>{name}</i>", "trec_eval": given} for name, given in arguments],
    )
    other = small.write("other.run", "1 Q0 z 1 9 x\n1 Q0 a 2 8 x\n2 Q0 z 1 9 x\n2 Q0 c 2 8 x\n")
    broken = small.write("broken.run", f"1 Q0 a 1 {HOSTILE.replace(' ', '_')} x\n1 Q0 b 2 {'9' * 1_000_000}x x\n")
    wrong = {"RR@10": 0.7499, "R@10": 0.75}
    source = {"kind": "pyserini-2cr", "reference": HOSTILE}
    return [
        small.regression("hostile.one", description=HOSTILE, expected="measure"),
        small.regression("hostile.two", run=str(other), expected=[{"source": source, "values": wrong}]),
        small.regression("hostile.broken", run=str(broken)),
        small.made("hostile.made", description="made <here>"),
        small.made("hostile.failed", what="fail", read=HOSTILE),
    ]


@pytest.fixture(scope="session")
def measured_study() -> StudyDocument:
    configured, found = study(description=HOSTILE), entries()
    return study_document(configured, found, compare(configured, found))


@pytest.fixture
def page(browser, reported) -> Iterator[Page]:
    """The page of `reported`. Nothing may be asked of a network, logged as an error, or run out of a hostile text."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(10_000)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((reported.report / "index.html").as_uri())
    yield page
    assert requests == [(reported.report / "index.html").as_uri()]
    assert errors == []
    assert page.evaluate("window.hacked") is None
    context.close()
