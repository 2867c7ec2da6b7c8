from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pyserini_tasb.environment import doctor
from pyserini_tasb.environment.checks import Finding, ok, problem, warning
from tests.command_line import tasb, tasb_argv

FINE = ok("Python", "3.12.1")
KNOWN = warning("hub", "does not answer", "export HF_HUB_OFFLINE=1")
BROKEN = problem("Java", "is Java 17", "sudo apt install a-jdk\nconda install a-jdk")


def run(monkeypatch: pytest.MonkeyPatch, *findings: Finding, as_json: bool = False) -> int:
    monkeypatch.setattr(doctor, "CHECKS", {"all": lambda: list(findings)})
    return tasb("doctor", *(["--json"] if as_json else []))


@pytest.mark.parametrize(
    ("findings", "status"), [((FINE,), 0), ((FINE, KNOWN), 0), ((FINE, BROKEN), 1), ((BROKEN, FINE), 1)]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_exit_status(monkeypatch: pytest.MonkeyPatch, findings: tuple[Finding, ...], status: int, as_json: bool):
    assert run(monkeypatch, *findings, as_json=as_json) == status


def test_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, FINE, KNOWN, BROKEN)
    assert capsys.readouterr().out.splitlines() == [
        "OK  Python                3.12.1",
        "!   hub                   does not answer",
        "      type: export HF_HUB_OFFLINE=1",
        "!!  Java                  is Java 17",
        "      type: sudo apt install a-jdk",
        "      or:   conda install a-jdk",
        "",
        "1 problem(s), 1 warning(s)",
    ]


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, FINE, BROKEN, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "Python", "status": "ok", "found": "3.12.1", "remedy": None},
        {"name": "Java", "status": "problem", "found": "is Java 17", "remedy": BROKEN.remedy},
    ]


def test_a_check_that_fails_is_a_line_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail() -> list[Finding]:
        raise OSError("disk on fire")

    monkeypatch.setattr(doctor, "CHECKS", {"caches": fail, "Python": lambda: [FINE]})
    assert tasb("doctor") == 1
    shown = capsys.readouterr()
    assert "!!  caches                could not be checked: OSError('disk on fire')" in shown.out
    assert "OK  Python" in shown.out
    assert shown.err == ""


def test_on_this_machine():
    done = subprocess.run(
        tasb_argv("doctor", "--json"),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    findings = json.loads(done.stdout)
    names = [finding["name"] for finding in findings]
    for name in ("Python", "Pyserini", "transformers", "torch", "faiss", "onnxruntime", "JAVA_HOME", "Java on PATH"):
        assert name in names
    for name in ("Java for Pyserini", "start-up hook", "Pyserini cache", "Hugging Face cache", "Hugging Face hub"):
        assert name in names
    assert all((finding["remedy"] is None) == (finding["status"] == "ok") for finding in findings)
    assert done.returncode == any(finding["status"] == "problem" for finding in findings)
    assert "Traceback" not in done.stderr
