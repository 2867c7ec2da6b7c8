"""The one exception that users read, the names of arguments in its text, and other ways to end."""

from __future__ import annotations

import contextlib
import re
import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MENTION = re.compile("\ue000(\\w+)(?:=([^\ue001]*))?\ue001")


class TasbError(Exception):
    """A mistake that the user can fix: what was expected, what was found, and what to do.

    Commands print it without a traceback and exit with status 2 (`tasb`) or 1 (stock Pyserini commands).

    Args:
        expected: what would have been right.
        found: what was found instead.
        do: the next step, as something to type or change.
        where: the place of the mistake: a file, or `file:line`.

    Texts mention arguments by `argument(…)`: callers of the function read `hits=`, users of the command `--hits`.

    Attributes:
        told_elsewhere: whether another process, which works with this one, prints the same error.
    """

    told_elsewhere = False

    def __init__(self, *, expected: str, found: str, do: str, where: str | None = None) -> None:
        self._marked = expected, found, do, where = (
            _cut(printable(expected)),
            _cut(printable(found)),
            _cut(printable(do)),
            where if where is None else printable(where),
        )
        self.expected, self.found, self.do = (_in_python(text) for text in (expected, found, do))
        self.where = where if where is None else _in_python(where)
        super().__init__(self.worded(Argument.__str__))

    def __reduce__(self) -> tuple[Callable[..., TasbError], tuple[str | None, ...]]:
        return _again, self._marked  # for an error that one of our processes sends to another

    def worded(self, mention: Callable[[Argument], str]) -> str:
        """The whole text, with each mentioned argument as `mention` writes it."""
        expected, found, do, where = (text and _reworded(text, mention) for text in self._marked)
        lines = [where] if where else []
        return "\n".join([*lines, f"  expected: {expected}", f"  found:    {found}", f"  do this:  {do}"])


class FailedError(Exception):
    """Something that ran for the user failed, without a mistake of the user or of this package.

    `tasb` prints it without a traceback and exits with status 1.

    Attributes:
        told_elsewhere: whether another process, which works with this one, prints the same error.
    """

    told_elsewhere = False


class Interruption(KeyboardInterrupt):
    """A signal that asked this process to end, raised once its work has stopped.

    Attributes:
        number: the number of the signal.
    """

    def __init__(self, number: int, *about: object) -> None:
        super().__init__(*about)
        self.number = number


def _again(expected: str, found: str, do: str, where: str | None) -> TasbError:
    return TasbError(expected=expected, found=found, do=do, where=where)


class Argument:
    """An argument of a verb in a message: `hits=` or `hits=10` in Python, `--hits` or `--hits 10` on the command line.

    In an f-string it becomes a mark that `TasbError` resolves. In a log message, hand it over for a `%s`.

    Args:
        name: the parameter's name.
        value: the value to suggest, if any.
    """

    def __init__(self, name: str, value: str | None = None) -> None:
        self.name, self.value = name, value

    def __str__(self) -> str:
        return f"{self.name}={self.value or ''}"

    def __format__(self, spec: str) -> str:
        return f"\ue000{self.name}{'' if self.value is None else f'={self.value}'}\ue001"


def argument(name: str, value: object = None) -> Argument:
    """The mention of an argument, for a message; see `Argument`."""
    return Argument(name, None if value is None else repr(value))


def _reworded(text: str, mention: Callable[[Argument], str]) -> str:
    return _MENTION.sub(lambda found: mention(Argument(found[1], found[2])), text)


def _in_python(text: str) -> str:
    return _reworded(text, Argument.__str__)


# Line ends and tabs stay. What else is here moves a terminal's cursor, or the order of letters on it.
CONTROLS = (*range(9), 11, 12, 13, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in CONTROLS}


def printable(text: str) -> str:
    r"""The text with escapes (`\x1b`) for characters that control a terminal and for bytes that were not UTF-8."""
    if text.isprintable():
        return text
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()


def with_article(noun: str) -> str:
    """`a store`, `an index`."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


LONGEST_PART = 4000  # characters: twenty faulty lines have their places


def _cut(text: str) -> str:
    if len(text) <= LONGEST_PART:
        return text
    half = LONGEST_PART // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 120
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxtuple = 3, 6, 6, 6


def shown(value: object) -> str:
    """A value in a message: its `repr`, cut where it is long or has many parts."""
    return _REPR.repr(value)


@contextlib.contextmanager
def os_errors_explained(where: Path, *, expected: str, do: str) -> Iterator[None]:
    """Make a TasbError of what the operating system refuses in the block."""
    try:
        yield
    except OSError as error:
        raise TasbError(where=str(where), expected=expected, found=error.strerror or str(error), do=do) from error
