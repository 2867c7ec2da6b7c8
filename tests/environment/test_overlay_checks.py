from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.environment import checks

if TYPE_CHECKING:
    from pathlib import Path


CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]
GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
BOTH = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
REINSTALL = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-deps onnxruntime==1.31.1 && "
    "pip install --no-deps onnxruntime-gpu==1.31.1"
)


def onnxruntime(monkeypatch: pytest.MonkeyPatch, owners: dict[str, str], providers: list[str]):
    monkeypatch.setattr(checks, "distributions_with", lambda _: owners)
    module = SimpleNamespace(__version__="1.31.1", get_available_providers=lambda: providers)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    (finding,) = checks.check_onnxruntime()
    return finding


def faiss(monkeypatch: pytest.MonkeyPatch, owners: dict[str, str], module: object):
    monkeypatch.setattr(checks, "distributions_with", lambda _: owners)
    monkeypatch.setitem(sys.modules, "faiss", module)
    (finding,) = checks.check_faiss()
    return finding


FAISS_CPU = SimpleNamespace(__version__="1.15.1")
FAISS_GPU = SimpleNamespace(__version__="1.15.1", StandardGpuResources=object, get_num_gpus=lambda: 0)


@pytest.mark.parametrize(
    ("owners", "providers", "status"),
    [
        ({"onnxruntime": "1.31.1"}, CPU, "ok"),
        (BOTH, GPU, "ok"),
        (BOTH, CPU, "problem"),
        ({"onnxruntime-gpu": "1.31.1"}, GPU, "warning"),
    ],
)
def test_onnxruntime(monkeypatch: pytest.MonkeyPatch, owners: dict[str, str], providers: list[str], status: str):
    finding = onnxruntime(monkeypatch, owners, providers)
    assert finding.status == status
    assert finding.remedy == (None if status == "ok" else REINSTALL)


def test_the_gpu_version_is_the_one_kept(monkeypatch: pytest.MonkeyPatch):
    finding = onnxruntime(monkeypatch, BOTH | {"onnxruntime": "1.27.0"}, CPU)
    assert finding.remedy == REINSTALL


def test_onnxruntime_half_uninstalled(monkeypatch: pytest.MonkeyPatch):
    # What `pip uninstall onnxruntime` leaves of the two: an importable folder with nothing in it.
    monkeypatch.setattr(checks, "distributions_with", lambda _: {"onnxruntime-gpu": "1.31.1"})
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    (finding,) = checks.check_onnxruntime()
    assert (finding.status, finding.remedy) == ("problem", REINSTALL)


def test_onnxruntime_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "distributions_with", lambda _: {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (finding,) = checks.check_onnxruntime()
    assert (finding.status, finding.remedy) == ("problem", "pip install onnxruntime")


@pytest.mark.parametrize(
    ("owners", "module", "status", "remedy"),
    [
        ({"faiss-cpu": "1.15.1"}, FAISS_CPU, "ok", None),
        ({"faiss-gpu": "1.15.1"}, FAISS_GPU, "ok", None),
        ({}, FAISS_CPU, "ok", None),  # conda's
        ({}, None, "problem", "pip install faiss-cpu"),
        (
            {"faiss-gpu": "1.15.1"},
            SimpleNamespace(),
            "problem",
            "pip uninstall -y faiss-gpu && pip install faiss-gpu==1.15.1",
        ),
        (
            {"faiss-cpu": "1.15.1", "faiss-gpu-cu12": "1.14.1"},
            FAISS_CPU,
            "problem",
            "pip uninstall -y faiss-cpu faiss-gpu-cu12 && pip install faiss-gpu-cu12==1.14.1",
        ),
        (
            {"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"},
            FAISS_GPU,
            "warning",
            "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-gpu==1.15.1",
        ),
    ],
)
def test_faiss(
    monkeypatch: pytest.MonkeyPatch, owners: dict[str, str], module: object, status: str, remedy: str | None
):
    finding = faiss(monkeypatch, owners, module)
    assert (finding.status, finding.remedy) == (status, remedy)


def test_distributions_that_share_a_module_are_both_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, version in [("one", "1.0"), ("one-gpu", "1.1")]:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text("shared_by_two\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert checks.distributions_with("shared_by_two") == {"one": "1.0", "one-gpu": "1.1"}
    assert checks.distributions_with("no_such_module") == {}
