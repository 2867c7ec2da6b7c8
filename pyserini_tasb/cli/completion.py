"""Shell completion: verbs, options, choices and paths of `tasb` at a press of Tab.

The script is made once, by shtab, and starts no Python; argcomplete would start `tasb` at each press of the key.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator


def completion(parser: argparse.ArgumentParser, shell: Literal["bash", "zsh"]) -> str:
    """A script for the shell; where the parser expects any text, it completes paths."""
    import shtab

    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name for it
            action.help = "VERB"  # shtab leaves out what help leaves out
        elif not action.choices and action.type is None and action.nargs != 0:
            vars(action)["complete"] = shtab.FILE  # where shtab looks
    script: str = shtab.complete(parser, shell)
    return script


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for verb in action.choices.values():
                yield from _actions(verb)
