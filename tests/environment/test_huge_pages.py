"""Huge pages: when they are asked for, and that the process that restarts for them stays the same process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyserini_tasb.__main__ import COMPUTING
from pyserini_tasb.cli.main import GROUPS
from pyserini_tasb.environment.processor import TUNABLES, huge_pages_on_request, with_huge_pages

WISH = "glibc.malloc.hugetlb=1"


def test_the_verbs_are_verbs_and_documented():
    assert {verb.name for group in GROUPS.values() for verb in group} >= COMPUTING
    page = (Path(__file__).parents[2] / "docs" / "speed-explained.md").read_text()
    (listed,) = re.findall(r"^So `tasb (.+) set `GLIBC_TUNABLES", page, re.MULTILINE)
    assert set(re.findall(r"[a-z-]{3,}", listed.replace(" and ", " "))) == COMPUTING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, WISH),
        ({"GLIBC_TUNABLES": ""}, WISH),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, f"glibc.malloc.check=3:{WISH}"),
    ],
)
def test_the_wish_is_added(before, after):
    assert with_huge_pages({"HOME": "/h", **before}) == {"HOME": "/h", "GLIBC_TUNABLES": after}


@pytest.mark.parametrize("own", [WISH, "glibc.malloc.hugetlb=0", "glibc.malloc.check=3:glibc.malloc.hugetlb=2"])
def test_the_users_own_choice_stays(own):
    assert with_huge_pages({"GLIBC_TUNABLES": own}) is None


@pytest.mark.parametrize(
    ("mode", "libc", "expected"),
    [
        ("always [madvise] never\n", "glibc 2.35", True),
        ("always [madvise] never\n", "glibc 3.0", True),
        ("always [madvise] never\n", "glibc 2.34", False),  # it cannot ask
        ("[always] madvise never\n", "glibc 2.36", False),  # all get them
        ("always madvise [never]\n", "glibc 2.36", False),
        (None, "glibc 2.36", False),  # a kernel without them
        ("always [madvise] never\n", ValueError("unrecognized configuration name"), False),  # musl, macOS
        ("always [madvise] never\n", None, False),
    ],
)
def test_who_has_to_ask_for_them(monkeypatch, tmp_path, mode, libc, expected):
    file = tmp_path / "enabled"
    if mode is not None:
        file.write_text(mode)

    def confstr(_):
        if isinstance(libc, Exception):
            raise libc
        return libc

    monkeypatch.setattr(os, "confstr", confstr)
    assert huge_pages_on_request(file) is expected


def test_windows_has_none(monkeypatch):
    monkeypatch.delattr(os, "confstr")
    assert not huge_pages_on_request()


@pytest.mark.parametrize("verb", ["train", "regress"])
def test_the_process_keeps_its_number_and_arguments(tmp_path, verb):
    """The file that the verb reads is a pipe: so it waits, and its environment and arguments can be read."""
    pipe = tmp_path / "with a space.yaml"
    os.mkfifo(pipe)
    environment = {name: value for name, value in os.environ.items() if name != TUNABLES}
    command = [sys.executable, "-m", "pyserini_tasb", verb, str(pipe)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        writing = _opened_when_read(pipe, process)
        of_process = Path(f"/proc/{process.pid}")
        arguments = (of_process / "cmdline").read_text().split("\0")
        wishes = [line for line in (of_process / "environ").read_text().split("\0") if WISH in line]
        os.write(writing, b"name: too little\n")
        os.close(writing)
        said = process.stderr.read()
    assert arguments[1:-1] == command[1:]
    assert wishes == ([f"GLIBC_TUNABLES={WISH}"] if verb == "train" and huge_pages_on_request() else [])
    assert process.returncode == 2
    assert str(pipe) in said


def _opened_when_read(pipe, process):
    """`pipe` for writing, as soon as the process reads it."""
    while process.poll() is None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.05)
    pytest.fail(process.stderr.read())
