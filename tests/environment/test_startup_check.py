from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyserini_tasb.environment import checks
from pyserini_tasb.plugin.startup import SWITCH

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the check start a Python that has nothing installed; returns its site-packages."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    monkeypatch.setattr("sys.executable", str(venv / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv(checks.AUTOLOAD_SWITCH, raising=False)
    (site_packages,) = venv.glob("lib/python*/site-packages")
    monkeypatch.setattr(checks, "_site_folders", lambda: [str(site_packages)])
    return site_packages


def check():
    (finding,) = checks.check_startup_hook()
    return finding


def test_live(bare_python: Path):
    (bare_python / "checkout.pth").write_text(f"{ROOT}\n")
    (bare_python / checks.START_FILE).write_text((ROOT / "startup" / checks.START_FILE).read_text())
    assert check().status == "ok"


@pytest.mark.usefixtures("bare_python")
def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "__file__", str(ROOT / "pyserini_tasb" / "environment" / "checks.py"))
    finding = check()
    assert (finding.status, finding.remedy) == ("problem", f"pip install -e {ROOT}")
    assert "where only `tasb` works" in finding.found


def test_start_file_that_does_nothing(bare_python: Path):
    (bare_python / checks.START_FILE).write_text("import sys\n")
    assert "did not run" in check().found


@pytest.mark.usefixtures("bare_python")
def test_outside_site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "target" / "pyserini_tasb" / "environment"
    monkeypatch.setattr(checks, "__file__", str(package / "checks.py"))
    finding = check()
    assert "target is no site-packages folder" in finding.found
    assert finding.remedy == "import pyserini_tasb; pyserini_tasb.register_encoders()"


def test_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SWITCH, "0")
    finding = check()
    assert (finding.status, finding.remedy) == ("warning", "unset PYSERINI_TASB_AUTOLOAD")


def test_python_without_site(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYSERINI_TASB_AUTOLOAD", raising=False)
    monkeypatch.setattr("sys.flags", SimpleNamespace(no_site=1))
    assert "-S" in check().found
