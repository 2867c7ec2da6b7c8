"""Shell completion: verbs, options, choices and paths of `tasb` at a press of Tab.

The script is made once, by shtab, and starts no Python; argcomplete would start `tasb` at each press of the key.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHELLS = ("bash", "zsh")


def add_completion_option(parser: argparse.ArgumentParser) -> None:
    """`--print-completion`, of the command itself."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        dest=argparse.SUPPRESS,
        help='Print what completes verbs and options in a shell. In ~/.bashrc: eval "$(tasb --print-completion bash)"',
    )


class _PrintCompletion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        print(completion(parser, "zsh" if values == "zsh" else "bash"))
        parser.exit()


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
