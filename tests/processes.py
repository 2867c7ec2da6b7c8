"""Python modules as processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run_module(*arguments: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE …` in a process of its own."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
