from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pyserini_tasb.environment import checks

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.environment.checks import Finding


class Usage(NamedTuple):
    free: int


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path / "pyserini"))
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "recipes"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(checks.ENOUGH))
    monkeypatch.chdir(tmp_path)


def look() -> dict[str, Finding]:
    return {finding.name: finding for finding in checks.check_caches()}


def test_folders_come_from_the_environment_and_need_not_exist(tmp_path: Path):
    (tmp_path / "hub").mkdir()
    found = look()
    assert {finding.status for finding in found.values()} == {"ok"}
    assert found["Pyserini cache"].found == f"{tmp_path}/pyserini (does not exist yet), 2.0 GiB free"
    assert found["Hugging Face cache"].found == f"{tmp_path}/hub, 2.0 GiB free"
    assert str(tmp_path / "recipes") in found["your recipes"].found


def test_little_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(checks.ENOUGH - 1))
    finding = look()["Hugging Face cache"]
    assert (finding.status, finding.remedy) == ("warning", "export HF_HUB_CACHE=/a/folder/with/room")


def test_not_writable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so chmod would show nothing
    assert "not writable" in look()["Pyserini cache"].found


def test_java_prefers_a_cache_in_the_working_folder(tmp_path: Path):
    (tmp_path / ".cache").mkdir()
    finding = look()["Pyserini cache"]
    assert finding.status == "warning"
    assert str(tmp_path / ".cache" / "pyserini") in finding.found
    (tmp_path / "pyserini").mkdir()
    assert finding.remedy == f"ln -s {tmp_path}/pyserini .cache/pyserini"
    (tmp_path / ".cache" / "pyserini").symlink_to(tmp_path / "pyserini")  # what the remedy does
    assert look()["Pyserini cache"].status == "ok"
