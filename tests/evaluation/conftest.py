"""Python code in a process of its own, which may start a JVM there."""

from __future__ import annotations

import subprocess
import sys

import pytest


def printed_by(code: str, *arguments: object) -> str:
    """What `python -c CODE ARGUMENTS` prints on stdout."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
