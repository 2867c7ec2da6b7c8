"""Python and the packages that pip chose: versions that do not go together."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pyserini_tasb.environment.checks.network import answers
from pyserini_tasb.environment.finding import Finding, ok, problem, warning
from pyserini_tasb.environment.reproducibility import SETTING, VARIABLE, products_depend_on_alignment

# As in pyproject.toml.
PYTHON = (3, 11)
PYSERINI, NOT_PYSERINI = (1, 6), (3,)
TRANSFORMERS = (4, 57)
OPENAI_REFUSING_EMPTY_KEYS = (2, 34)
PYSERINI_WITHOUT_EMPTY_KEY = (2, 1)
INSTALL_PYSERINI = "pip install 'pyserini>=1.6,<3,!=2.4.0'"
PYSERINI_METADATA = "https://raw.githubusercontent.com"  # where 2.4.0 downloads from while it is imported


def check_python() -> list[Finding]:
    """Python's version, and which Python it is."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < PYTHON:
        return [problem("Python", found, "conda create -n tasb python=3.12")]
    return [ok("Python", found)]


def check_pyserini() -> list[Finding]:
    """Pyserini's version, and the two releases that cannot be imported everywhere."""
    found = installed("pyserini")
    if found is None:
        return [problem("Pyserini", "not installed", INSTALL_PYSERINI)]
    if not PYSERINI <= release(found) < NOT_PYSERINI:
        return [problem("Pyserini", f"{found}; we need 1.6 or newer, below 3", INSTALL_PYSERINI)]
    if release(found) == (2, 4, 0):
        return [_check_pyserini_2_4_0()]
    if release(found) < PYSERINI_WITHOUT_EMPTY_KEY:
        return [ok("Pyserini", found), _check_openai(found)]
    return [ok("Pyserini", found)]


def check_transformers() -> list[Finding]:
    """The version of transformers."""
    found = installed("transformers")
    if found is None or release(found) < TRANSFORMERS:
        found = f"{found or 'not installed'}; we need 4.57 or newer"
        return [problem("transformers", found, "pip install 'transformers>=4.57'")]
    return [ok("transformers", found)]


def check_torch() -> list[Finding]:
    """The version of torch, and what it can compute on."""
    remedy = "pip install " + ("--no-deps --force-reinstall " if installed("torch") else "") + "'torch>=2.9'"
    try:
        import torch

        devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            devices.append("MPS")
        has_bf16 = {True: "yes", False: "emulated, slow", None: "unknown"}[_cpu_has_bf16()]
        found = f"{torch.__version__}; GPU: {', '.join(devices) or 'none'}; bf16 on the CPU: {has_bf16}"
    except Exception as error:  # noqa: BLE001 - whatever a broken install raises is the finding
        return [problem("torch", f"cannot be imported: {error!r}", remedy)]
    return [ok("torch", found), _check_reproducibility()]


def installed(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """`2.14.1+cpu` → (2, 14, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _check_pyserini_2_4_0() -> Finding:
    found = "2.4.0, which downloads index metadata whenever it is imported"
    if answers(PYSERINI_METADATA):
        return ok("Pyserini", f"{found}: it will not work offline")
    return warning(
        "Pyserini", f"{found}, and {PYSERINI_METADATA} does not answer: it cannot be imported", INSTALL_PYSERINI
    )


def _check_openai(pyserini: str) -> Finding:
    found = installed("openai")
    if found is None:
        return problem("openai", f"not installed; Pyserini {pyserini} imports it", "pip install 'openai<2.34'")
    if release(found) < OPENAI_REFUSING_EMPTY_KEYS:
        return ok("openai", found)
    if os.environ.get("OPENAI_API_KEY"):
        return ok("openai", f"{found}; Pyserini {pyserini} can be imported only while OPENAI_API_KEY is set, as it is")
    clash = f"{found}: `import pyserini.encode` of Pyserini {pyserini} fails with openai 2.34 and newer"
    return problem("openai", clash, "pip install 'openai<2.34'")


def _check_reproducibility() -> Finding:
    name, set_to = "reproducibility", f"{VARIABLE}={os.environ.get(VARIABLE, '')}"
    if products_depend_on_alignment():
        found = f"the last bits of torch's products depend on where numbers lie in memory ({set_to})"
        return warning(name, found, f"export {VARIABLE}={SETTING}")
    found = f"torch's products are the same bytes wherever numbers lie in memory ({set_to})"
    return ok(name, f"{found}; set it for programs that use torch before they load our encoders")


def _cpu_has_bf16() -> bool | None:
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpu) is not None
