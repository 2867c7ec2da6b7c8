"""A verb of the command line: its options, the function that it calls, and how the function's result is printed."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import signal
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import Interruption, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyserini_tasb.errors import Argument

# Values of every verb that are not its function's.
OWN = ("verb", "called", "verbosity", "trust", "print_completion")


def say(text: str) -> None:
    """Print a text with names from files in it. Characters that control a terminal are printed as escapes."""
    print(printable(text))


def print_summary(result: Any, _options: argparse.Namespace) -> int:
    """Print the result's summary; return the exit status 0."""
    say(result.summary)
    return 0


def print_interrupted(interruption: KeyboardInterrupt, options: argparse.Namespace) -> None:
    """Say that a signal ended the verb."""
    number = interruption.number if isinstance(interruption, Interruption) else signal.SIGINT
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    print(f"\ntasb {options.verb}: {how}", file=sys.stderr)


@dataclass(frozen=True)
class Verb:
    """One verb.

    The values of its options are handed to the function of the same name (`-` is `_`) in `pyserini_tasb`, under the
    names of the options.

    Args:
        name: the verb as it is typed.
        summary: one sentence, for the list of verbs and the head of its help.
        example: the command with which its help ends.
        add_options: adds the options to a parser.
        report: prints the result of the function; gets the options too, and returns the exit status.
        printing: the options that only change how the result is printed.
        at: the `module:function` of a verb that is no function of `pyserini_tasb`.
        interrupted: prints what a signal left; the exit status is always 128 plus the signal's number.
    """

    name: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    report: Callable[[Any, argparse.Namespace], int] = print_summary
    printing: tuple[str, ...] = ()
    at: str | None = None
    interrupted: Callable[[KeyboardInterrupt, argparse.Namespace], None] = print_interrupted

    def add_to(self, verbs: Any) -> None:
        """Add the verb to a parser's verbs."""
        parser = verbs.add_parser(
            self.name,
            help=self.summary,
            description=textwrap.fill(self.summary, 80),
            epilog=f"example:\n  {self.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        volume = parser.add_mutually_exclusive_group()
        volume.add_argument(
            "-q",
            "--quiet",
            dest="verbosity",
            action="store_const",
            const=-1,
            help="Print warnings and errors, but no notes.",
        )
        volume.add_argument(
            "-v",
            "--verbose",
            dest="verbosity",
            action="store_const",
            const=1,
            help="Also print details that help to find a problem.",
        )
        parser.add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="PACKAGE",
            help="Let files of others (model folders, regressions) run code of this Python package, which they name as "
            "module:name. May be given again.",
        )
        parser.set_defaults(called=self, verbosity=0)

    def run(self, options: argparse.Namespace) -> int:
        """Call the function and print its result; return the exit status."""
        given = {name: value for name, value in vars(options).items() if name not in (*OWN, *self.printing)}
        result = self.function(**given)
        # Where standard output has lines for another program, people read standard error.
        with contextlib.redirect_stdout(sys.stderr) if _prints_its_output(given) else contextlib.nullcontext():
            return self.report(result, options)

    @property
    def function(self) -> Callable[..., Any]:
        """The function that the verb calls: the one of its name in `pyserini_tasb`, or the one at `at`."""
        function: Callable[..., Any] = _imported(self.at or f"pyserini_tasb:{self.name.replace('-', '_')}")
        return function

    def option(self, mentioned: Argument) -> str:
        """An argument of the function as its option."""
        parser = argparse.ArgumentParser(add_help=False)
        self.add_options(parser)
        action = next((action for action in parser._actions if action.dest == mentioned.name), None)  # noqa: SLF001
        if action is None:  # of another verb, which the message is about
            name, takes_value = f"--{mentioned.name.replace('_', '-')}", mentioned.value != "True"
        else:
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
            takes_value = action.nargs != 0
        if mentioned.value is None or not takes_value:
            return name
        try:
            value = ast.literal_eval(mentioned.value)
        except (SyntaxError, ValueError):  # not written by `argument`
            value = mentioned.value
        return " ".join(f"{name} {each}" for each in (value if isinstance(value, list) else [value]))


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _prints_its_output(given: Mapping[str, Any]) -> bool:
    from pyserini_tasb.outputs import is_standard_output  # loaded by the verb, if it writes anything

    return any(given.get(name) and is_standard_output(given[name]) for name in ("output", "export_2cr", "html"))
