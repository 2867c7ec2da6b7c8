"""A verb of the command line: its options, the function that it calls, and how the function's result is printed."""

from __future__ import annotations

import argparse
import ast
import importlib
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyserini_tasb

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserini_tasb.errors import Argument

# Values of every verb that are not its function's.
OWN = ("verb", "called", "verbosity")


def print_summary(result: Any, _options: argparse.Namespace) -> int:
    """Print the result's own summary; 0."""
    print(result.summary)
    return 0


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
        printing: options that only say how to print the result.
        old: `module:function` of a verb that still takes a Namespace.
    """

    name: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    report: Callable[[Any, argparse.Namespace], int] = print_summary
    printing: tuple[str, ...] = ()
    old: str | None = None

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
        volume.add_argument("-q", "--quiet", dest="verbosity", action="store_const", const=-1, help="print no notes")
        volume.add_argument(
            "-v", "--verbose", dest="verbosity", action="store_const", const=1, help="print what helps to find a fault"
        )
        parser.set_defaults(called=self, verbosity=0)

    def run(self, options: argparse.Namespace) -> int:
        """Call the function and print its result; return the exit status."""
        if self.old:
            module, _, function = self.old.partition(":")
            return int(getattr(importlib.import_module(module), function)(options))
        given = {name: value for name, value in vars(options).items() if name not in (*OWN, *self.printing)}
        return self.report(getattr(pyserini_tasb, self.function)(**given), options)

    @property
    def function(self) -> str:
        """The function's name in `pyserini_tasb`."""
        return self.name.replace("-", "_")

    def option(self, mentioned: Argument) -> str:
        """An argument of the function as its option."""
        name = f"--{mentioned.name.replace('_', '-')}"
        if mentioned.value in (None, "True"):
            return name
        value = ast.literal_eval(mentioned.value)
        return " ".join([name, *map(str, value if isinstance(value, list | tuple) else [value])])
