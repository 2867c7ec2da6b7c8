"""Things by name, and what to say of a name that is none."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Generic, TypeVar

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries of one kind by name.

    Args:
        kind: what an entry is called in errors, e.g. `fusion method`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Make `entry` known as `name`."""
        self._entries[name] = entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            TasbError: there is none; the nearest name is suggested.
        """
        if name not in self._entries:
            folded = {known.lower(): known for known in self._entries}
            close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
            raise TasbError(
                expected=f"a {self._kind}: {', '.join(self._entries)}",
                found=f"`{name}`",
                do=f"did you mean `{folded[close[0]]}`?" if close else "choose one of them",
            )
        return self._entries[name]


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices of an argument.

    Args:
        name: the argument's name.
        value: the value that it was given.
        choices: the values that it may have.

    Raises:
        TasbError: it is none of them; the nearest is suggested.
    """
    known = list(choices)
    if value not in known:
        close = difflib.get_close_matches(str(value).lower(), known, n=1, cutoff=0.5)
        raise TasbError(
            expected=f"one of {', '.join(known)} for {argument(name)}",
            found=f"`{value}`",
            do=f"did you mean `{close[0]}`?" if close else "choose one of them",
        )
