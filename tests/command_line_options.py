"""The options of every verb as text, to compare with what is committed.

python -m tests.command_line_options > tests/data/command-line.txt
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tests.command_line import parser

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = {"?": "at most one", "*": "any number", "+": "one or more"}
SEVERAL = {"append": "may be given again", "extend": "may be given again"}


def options_table() -> str:
    """A line for each option, under its verb."""
    blocks = []
    for verb, tree in verbs(parser()):
        lines = [" ".join(("tasb", *verb))]
        lines += [f"  {described(action)}" for action in tree._actions if has_a_line(action)]
        lines += [
            f"  {'exactly' if group.required else 'at most'} one of {', '.join(map(name_of, group._group_actions))}"
            for group in tree._mutually_exclusive_groups
        ]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def verbs(
    tree: argparse.ArgumentParser, name: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every verb, by its words, and what parses its options; the first is `tasb` itself."""
    yield name, tree
    for action in tree._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, parser_of_verb in action.choices.items():
                yield from verbs(parser_of_verb, (*name, word))


def has_a_line(action: argparse.Action) -> bool:
    return not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)


def name_of(action: argparse.Action) -> str:
    return ", ".join(action.option_strings) or str(action.metavar)


def described(action: argparse.Action) -> str:
    kind = type(action).__name__.strip("_").removesuffix("Action").lower()
    if action.nargs == 0:
        values = [] if kind == "version" or (kind, action.default) == ("storetrue", False) else [kind]
    else:
        metavar = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or action.dest.upper(),)
        shown = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else " ".join(metavar)
        values = [shown, type_of(action)]
        values += [COUNTS.get(action.nargs, f"exactly {action.nargs}")] if action.nargs else []
        values += [SEVERAL[kind]] if kind not in ("store", "printcompletion") else []
        values += ["required"] if action.required and action.option_strings else []
        if not action.option_strings:
            del values[0]  # its name
    # `None`, `False` and an empty list are how argparse says that nothing was given.
    values += [f"default {action.default!r}"] if action.default and action.nargs != 0 else []
    return "; ".join(filter(None, [name_of(action), *values]))


def type_of(action: argparse.Action) -> str:
    """What values may be, by what the option's function takes; that function's name does not matter."""
    if action.type is None:
        return ""
    if accepts(action, "0.5"):
        return "a number"
    least = next((bound for bound in ("-1", "0", "1") if accepts(action, bound)), None)
    return {"-1": "an integer", "0": "an integer from 0", "1": "an integer from 1"}[least]


def accepts(action: argparse.Action, text: str) -> bool:
    try:
        action.type(text)
    except (ValueError, argparse.ArgumentTypeError):
        return False
    return True


if __name__ == "__main__":
    print(options_table(), end="")
