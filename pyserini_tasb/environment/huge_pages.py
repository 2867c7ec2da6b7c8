"""Memory in huge pages, which glibc asks Linux for only if an environment variable said so before the process began.

Each layer of a model gets some megabytes for its results and gives them back. Linux hands out such memory in pages of
4 KiB and fills each with zeros when it is first touched; on a virtual machine, each of these touches is dear. A huge
page has 2 MiB, and so one touch does what 512 did. docs/speed-explained.md has what was measured.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
FIRST_GLIBC = (2, 35)
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Begin this process again, under its number and with its arguments, where that gets it huge pages.

    This must run before anything else: what the process has done until now is lost. Where a process cannot begin
    again, it goes on.
    """
    if not sys.executable or len(sys.orig_argv) < 2 or not available():
        return
    environment = asking(os.environ)
    if environment is not None:
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - no shell


def available(mode: Path = MODE) -> bool:
    """True if Linux gives huge pages to processes that ask for them, and only to these, and glibc can ask.

    Args:
        mode: the file with the choices, such as `always [madvise] never`, and the chosen one in brackets.
    """
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        found = tuple(int(number) for number in version.split(".")[:2])
        return name == "glibc" and found >= FIRST_GLIBC and "[madvise]" in mode.read_text(encoding="ascii")
    except (AttributeError, ValueError, OSError):  # no glibc, no Linux
        return False


def asking(environment: Mapping[str, str]) -> dict[str, str] | None:
    """`environment` with the wish for huge pages; None if it says already whether they are wished for."""
    others = environment.get(VARIABLE, "")
    if TUNABLE in others:
        return None
    return {**environment, VARIABLE: f"{others}:{TUNABLE}=1".lstrip(":")}
