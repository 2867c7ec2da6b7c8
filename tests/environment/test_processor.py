"""Threads follow OMP_NUM_THREADS, else affinity, hyper-threads and control groups."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyserini_tasb.environment.processor import processor, request_short_waits, threads
from tests.command_line import tasb


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 hyper-threads of 4 cores, all of them allowed."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_one_thread_for_each_core(machine):
    assert threads(machine) == 4


@pytest.mark.parametrize(("allowed", "expected"), [({0, 4}, 1), ({0, 1, 5}, 2), ({3}, 1)])
def test_affinity(machine, monkeypatch, allowed, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed, raising=False)
    assert threads(machine) == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 4), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)]
)
@pytest.mark.parametrize("place", ["", "pod/", "pod/container/"])
def test_control_group_and_those_above_it(machine, place, limit, expected):
    write(machine, "proc/self/cgroup", "0::/pod/container\n")
    write(machine, f"sys/fs/cgroup/{place}cpu.max", limit + "\n")
    assert threads(machine) == expected


@pytest.mark.parametrize(("quota", "expected"), [(-1, 4), (300_000, 3)])
def test_control_group_of_version_1(machine, quota, expected):
    write(machine, "proc/self/cgroup", "5:memory:/other\n4:cpu,cpuacct:/docker/1\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", f"{quota}\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert threads(machine) == expected


def test_what_the_user_says(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6,2")
    assert threads(machine) == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads(machine) == 4


def test_a_machine_that_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert threads(tmp_path) == 3


ZEN = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 sse avx512f\n\n"
GRAVITON = "processor\t: {}\nFeatures\t: fp asimd asimddp sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (ZEN, "AMD EPYC, family 25, model 17 (avx2 avx512f)"),
        (ZEN.replace("avx512f", "avx512_vnni"), "AMD EPYC, family 25, model 17 (avx2 avx512_vnni)"),
        (GRAVITON, "aarch64, implementer 0x41, part 0xd40 (asimddp sve)"),
        ("", "aarch64 ()"),
        (None, "a processor"),
    ],
)
def test_its_name(tmp_path, monkeypatch, cpuinfo, expected):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.processor", lambda: "a processor")
    if cpuinfo is not None:
        write(tmp_path, "proc/cpuinfo", "".join(map(cpuinfo.format, range(2))))
    assert processor(tmp_path) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no affinity")
def test_this_machine():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pyserini_tasb.environment.processor import threads; print(threads())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_threads_do_not_wait_busily_for_long_unless_the_user_says_so(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert tasb("list") == 0
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    request_short_waits()
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    request_short_waits()
    assert "GOMP_SPINCOUNT" not in os.environ
