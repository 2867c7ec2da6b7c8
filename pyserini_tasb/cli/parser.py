"""The parser of the command line: argparse, with errors that say what was expected, what was found and what to do."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import nearest_advice

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2
# argparse's messages, and what they expected and found, in our words.
_WORDS = (
    (r"the following arguments are required: (?P<all>.+)", "{all}", "no {all}"),
    (r"one of the arguments (?P<all>.+) is required", "one of {all}", "none of them"),
    (r"argument (?P<one>.+): not allowed with argument (?P<other>.+)", "{other} or {one}", "both"),
    (r"argument (?P<one>.+): expected one argument", "a value for {one}", "none"),
    (r"argument (?P<one>.+): expected at least one argument", "one value or more for {one}", "none"),
    (r"argument (?P<one>.+): expected (?P<n>\d+) arguments?", "{n} values for {one}", "fewer"),
    (r"argument (?P<one>.+): ignored explicit argument '(?P<value>.*)'", "{one} without a value", "`{value}`"),
    (r"argument (?P<one>.+): invalid float value: '(?P<value>.*)'", "a number for {one}", "`{value}`"),
    (r"argument (?P<one>.+): invalid \w+ value: '(?P<value>.*)'", "a whole number for {one}", "`{value}`"),
    (r"argument (?P<one>.+): (?P<value>\S+) is not (?P<range>.+)", "{range} for {one}", "{value}"),
    (
        r"ambiguous option: (?P<value>\S+) could match (?P<all>.+)",
        "one of {all}",
        "{value}, which could be any of them",
    ),
)


class Parser(argparse.ArgumentParser):
    """The parser of `tasb`, or of a verb."""

    _typed: Sequence[str] = ()

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the typed words; an unknown option or word ends the process with our error."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._of_verb(options.verb).refuse_words(unknown)
        return options

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the typed words as argparse does, which also calls this for the words after a verb."""
        self._typed = () if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with argparse's message in our words."""
        # A required option is missing where it was misspelt.
        if misspelt := [word for word in self._typed if word.startswith("--") and not self._knows(word)]:
            self.refuse_words(misspelt)
        for pattern, expected, found in _WORDS:
            if said := re.fullmatch(pattern, message, re.DOTALL):
                words = said.groupdict()
                self.refuse(expected.format(**words), found.format(**words), self._see_help)
        self.refuse("valid options and values", message, self._see_help)

    def refuse_words(self, words: Sequence[str]) -> NoReturn:
        """End the process: no option or argument takes these words."""
        option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        if option is None:
            self.refuse("no further argument", f"`{words[0]}`", self._see_help)
        names = [name for name in self._names if name.startswith("--")]
        self.refuse(f"an option of `{self.prog}`", f"`{option}`", nearest_advice(option, names, self._see_help))

    def refuse(self, expected: str, found: str, do: str) -> NoReturn:
        """End the process with an error."""
        self.exit(USAGE_ERROR, f"{self.prog}:\n{TasbError(expected=expected, found=found, do=do)}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name for it
            self.refuse(f"a verb: {', '.join(known)}", f"`{value}`", nearest_advice(str(value), known, self._see_help))
        name = next(reversed(action.option_strings), str(action.metavar or action.dest))
        self.refuse(f"one of {', '.join(known)} for {name}", f"`{value}`", nearest_advice(str(value), known))

    @property
    def _names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def _knows(self, word: str) -> bool:
        return any(name.startswith(word.partition("=")[0]) for name in self._names)  # argparse takes beginnings

    @property
    def _see_help(self) -> str:
        return f"see `{self.prog} --help`"

    def _of_verb(self, verb: str) -> Parser:
        found: Parser = next(action.choices[verb] for action in self._actions if action.dest == "verb")  # type: ignore[index]
        return found
