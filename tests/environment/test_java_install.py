from __future__ import annotations

import pytest

from pyserini_tasb.environment import java
from pyserini_tasb.environment.java import install_advice


@pytest.fixture(autouse=True)
def _linux_without_conda(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr("sys.prefix", "/nowhere")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("release", "first"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "mkdir"),
        ({"ID": "debian", "VERSION_ID": "13"}, "sudo"),
        ({"ID": "debian"}, "sudo"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04"}, "sudo"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_ID": "22"}, "sudo"),
        ({"ID": "fedora", "VERSION_ID": "43"}, "mkdir"),
    ],
)
def test_linux(monkeypatch: pytest.MonkeyPatch, release: dict[str, str], first: str):
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: release)
    lines = install_advice().splitlines()
    assert lines[0].split()[0] == first
    assert "/linux/x64/" in lines[-1]


def test_linux_that_does_not_say_which(monkeypatch: pytest.MonkeyPatch):
    def refuse():
        raise OSError

    monkeypatch.setattr("platform.freedesktop_os_release", refuse)
    assert install_advice().startswith("mkdir")


def test_conda_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")
    assert install_advice() == java.CONDA


def test_macos(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert install_advice().startswith("brew install openjdk@21")
    assert "JAVA_HOME=" in install_advice()
