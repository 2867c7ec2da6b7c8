"""The command line for tests, who start it by these functions only: in this process, or in processes of its own.

Arguments may be of any type: each is passed on as its `str()`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from pyserini_tasb.cli.main import build_parser, main
from tests.processes import run_module

if TYPE_CHECKING:
    import argparse
    import subprocess
    from collections.abc import Sequence


MODULE = "pyserini_tasb"
# Starts the command line in whatever Python these arguments are given to.
TASB = ("-m", MODULE)


def tasb(*arguments: object) -> int:
    """`tasb …` in this process: the exit status. What argparse refuses is a `SystemExit`."""
    return main([str(argument) for argument in arguments])


def tasb_raising(*arguments: object) -> int:
    """`tasb …` in this process, whose errors and interruptions are raised and not printed."""
    parsed = parse(*arguments)
    return parsed.called.run(parsed)


def parse(*arguments: object) -> argparse.Namespace:
    """What `tasb …` would run with: nothing is run."""
    return parser().parse_args([str(argument) for argument in arguments])


def parser() -> argparse.ArgumentParser:
    """The tree of verbs and options."""
    return build_parser()


def tasb_argv(*arguments: object) -> list[str]:
    """`tasb …` as the words of a process."""
    return [sys.executable, *TASB, *map(str, arguments)]


def tasb_process(*arguments: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """`tasb …` in a process of its own.

    Args:
        arguments: what stands behind `tasb`.
        check: fail the test if the exit status is not 0.
        options: of `subprocess.run`.
    """
    return run_module(MODULE, *arguments, check=check, **options)


def tasb_processes(number: int, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`tasb …` in one process of its own, or in several that work together."""
    if number == 1:
        return tasb_process(*arguments, check=check)
    return run_module(*torchrun_words(number, *TASB, *arguments), check=check)


def torchrun_words(number: int, *program: object, options: Sequence[object] = ("--standalone",)) -> list[str]:
    """The words after `python -m` that start a program in several processes."""
    words = ("torch.distributed.run", "--local-addr", "127.0.0.1", "--nproc-per-node", number, *options, *program)
    return [str(word) for word in words]


def without_progress(err: str) -> str:
    """What a command printed to stderr without the lines in which bars advance."""
    lines = re.split(r"(?<=\n)|\r", err)
    return "".join(line for line in lines if line.strip("\x1b[A\n ") and not re.search(r"\[\d\d:\d\d[,<]", line))
