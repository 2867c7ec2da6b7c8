"""The processor: its cores, its instructions for int8, huge pages, and what makes products repeat to the byte."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


LOG = logging.getLogger(__name__)

VARIABLE, SETTING = "MKL_CBWR", "AUTO"
# Bytes after a multiple of 64; torch itself puts every tensor at such a multiple.
OFFSETS = range(0, 64, 4)


def request_reproducibility() -> None:
    """Ask MKL for reproducible products in this process and its children, unless the user has set the variable.

    This must run before MKL first multiplies: only then it reads the variable.
    """
    os.environ.setdefault(VARIABLE, SETTING)


# Turns that a thread of libgomp waits for the others before it sleeps; by default 300,000, which is some milliseconds.
# Where others use the cores as well, it takes its core from the very thread that it waits for: two processes with two
# threads each on two cores encoded 23 to 28 s with the default, and 15 s so. One alone is as fast with either; with
# 1,000 turns, single queries took 1.3 times as long.
WAITING, TURNS = "GOMP_SPINCOUNT", "10000"


def request_short_waits() -> None:
    """Ask OpenMP not to wait busily in this process and its children, unless the user has said how it is to wait.

    This must run before Faiss or torch is imported: only then it reads the variable.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(WAITING, TURNS)


# Each layer of a model gets some megabytes for its results and gives them back. Linux hands out such memory in pages
# of 4 KiB and fills each with zeros when it is first touched, which is slow on virtual machines. A huge page has 2 MiB,
# and so one touch does what 512 did. docs/speed-explained.md has what was measured.
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
GLIBC_WITH_HUGE_PAGES = (2, 35)
HUGE_PAGES_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Restart this process, under its number and with its arguments, if it can get huge pages only so.

    glibc reads the variable when a process starts. This must run before anything else, because what the process has
    done until then is lost. Where a process cannot restart, it goes on.
    """
    if not sys.executable or len(sys.orig_argv) < 2 or not huge_pages_on_request():
        return
    environment = with_huge_pages(os.environ)
    if environment is not None:
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - no shell


def huge_pages_on_request(mode: Path = HUGE_PAGES_MODE) -> bool:
    """True if Linux gives huge pages to the processes that ask for them, and only to these, and glibc can ask.

    Args:
        mode: the file with the choices, such as `always [madvise] never`; the chosen one is in brackets.
    """
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        found = tuple(int(number) for number in version.split(".")[:2])
        return name == "glibc" and found >= GLIBC_WITH_HUGE_PAGES and "[madvise]" in mode.read_text(encoding="ascii")
    except (AttributeError, ValueError, OSError):  # no glibc, no Linux
        return False


def with_huge_pages(environment: Mapping[str, str]) -> dict[str, str] | None:
    """`environment` with a request for huge pages; None if it has the user's own setting of them."""
    others = environment.get(TUNABLES, "")
    if HUGE_PAGES in others:
        return None
    return {**environment, TUNABLES: f"{others}:{HUGE_PAGES}=1".lstrip(":")}


def ensure_reproducibility() -> None:
    """Request reproducibility; say once where the request is too late, because torch has multiplied already."""
    own_choice = os.environ.get(VARIABLE, SETTING) != SETTING
    request_reproducibility()
    if not own_choice and products_depend_on_alignment():
        _say_too_late()


@functools.cache
def require_device(device: str) -> None:
    """Refuse a device that torch does not know, or that this machine or this build of torch does not have.

    Raises:
        TasbError: nothing can be put on it.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises the latter where it is built without CUDA
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        raise TasbError(
            expected=f"a device that torch {torch.__version__} computes on here: {', '.join(['cpu', *gpus])}",
            found=f"`{device}` ({str(error).partition('.')[0]})",
            do=f"name one of these, or leave out {argument('device')}; `tasb doctor` shows what torch finds",
        ) from error


@functools.cache
def products_depend_on_alignment() -> bool:
    """True if torch's product of the same small matrices has other bytes at other addresses, in this process."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows, weights = (torch.randn(count, 64, generator=generator) for count in (3, 32))
    products = {
        torch.nn.functional.linear(copied_to(offset, rows), copied_to(other, weights)).numpy().tobytes()
        for offset in OFFSETS
        for other in OFFSETS
    }
    return len(products) > 1


def copied_to(offset: int, values: torch.Tensor) -> torch.Tensor:
    """A copy of fp32 `values` whose first byte lies `offset` bytes after a multiple of 64."""
    import torch

    space = torch.empty(values.numel() + 32, dtype=torch.float32)
    start = (-space.data_ptr() % 64 + offset) // space.element_size()
    return space[start : start + values.numel()].view(values.shape).copy_(values)


@functools.cache
def _say_too_late() -> None:
    LOG.warning(
        "torch multiplied matrices before our first model was loaded, so that the last bits of vectors can differ from "
        "run to run on this processor. To prevent it, set %s=%s before Python starts",
        VARIABLE,
        SETTING,
    )


WeightBits = Literal[7, 8]

# VNNI and AMX of x86, the dot product and matrix instructions of ARM.
_INT8 = re.compile(r"\b(avx512_vnni|avx_vnni|amx_int8|asimddp|i8mm)\b")
_AMX = re.compile(r"\bamx_bf16\b")
# Of /proc/cpuinfo on x86 and ARM: which processor it is, and what decides how fast it multiplies int8 and fp32.
_NUMBERS = ("cpu family", "model", "CPU implementer", "CPU part")
_TOLD = re.compile(r"\b(avx2|avx512f|avx512_vnni|avx_vnni|amx_int8|asimddp|i8mm|sve)\b")


def threads(root: Path = Path("/")) -> int:
    """The threads to compute with: OMP_NUM_THREADS, or as many as the process may use cores.

    Args:
        root: where `proc` and `sys` are.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) else cores(root)


def cores(root: Path = Path("/")) -> int:
    """The physical cores that the process's affinity allows, no more than its control groups grant it time for.

    Args:
        root: where `proc` and `sys` are.
    """
    # macOS knows no affinity.
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    physical = len({_sibling_threads(cpu, root) for cpu in allowed})
    return max(1, int(min([physical, *_granted_by_version_2(root), *_granted_by_version_1(root)])))


def cpu_has_int8() -> bool:
    """True if this CPU has instructions for int8 matrices; without, int8 gains less, and on x86 it can saturate."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return _has_instructions(_INT8)


def int8_products_saturate() -> bool:
    """True if sums of two 8-bit products saturate on this CPU: on x86 without VNNI."""
    return platform.machine() in {"x86_64", "AMD64"} and not cpu_has_int8()


def cpu_has_amx() -> bool:
    """True if this CPU multiplies tiles of bf16 matrices (AMX): many times as fast as vectors of bf16."""
    return _has_instructions(_AMX)


def processor(root: Path = Path("/")) -> str:
    """This processor's name, and its instructions that decide how fast matrices are multiplied.

    Such as `AMD EPYC, family 25, model 17 (avx2 avx512f avx512_vnni)`: virtual machines tell little by the name.

    Args:
        root: where `proc` is.
    """
    try:
        first = (root / "proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    numbers = [f"{key.split()[-1]} {facts[key]}" for key in _NUMBERS if key in facts]
    instructions = _TOLD.findall(facts.get("flags") or facts.get("Features") or "")
    return f"{', '.join([facts.get('model name') or platform.machine(), *numbers])} ({' '.join(sorted(instructions))})"


def _has_instructions(instructions: re.Pattern[str]) -> bool:
    try:
        return instructions.search(Path("/proc/cpuinfo").read_text(encoding="utf-8")) is not None
    except OSError:
        return False


def _sibling_threads(cpu: int, root: Path) -> str:
    """Whatever is the same for the hyper-threads of one core."""
    siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return siblings.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _granted_by_version_2(root: Path) -> list[float]:
    """CPUs' worth of time for the process's control group and for each above it."""
    found = []
    mount = root / "sys/fs/cgroup"
    for group in _groups(root, ""):
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (mount / folder / "cpu.max").read_text(encoding="ascii").split()
                found.append(int(quota) / int(period))  # `max` is no number: no limit
    return found


def _granted_by_version_1(root: Path) -> list[float]:
    found = []
    mount = root / "sys/fs/cgroup/cpu"
    for group in _groups(root, "cpu"):
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):
                quota = int((mount / folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
                period = int((mount / folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
                if quota > 0:  # -1: no limit
                    found.append(quota / period)
    return found


def _groups(root: Path, controller: str) -> list[Path]:
    """The process's control groups of a controller, relative to their mount; version 2 has the controller ""."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rows = (line.split(":", 2) for line in lines)
    return [Path(path.lstrip("/")) for _, controllers, path in rows if controller in controllers.split(",")]
