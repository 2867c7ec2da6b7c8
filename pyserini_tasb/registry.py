"""Whatever is in a registry can be replaced from outside.

There are three ways in, and each is enough alone.

1. A decorator, in a module that you import:

       @SCORINGS.register("doubled")
       def double(score): ...

2. `my_package.my_module:double`, wherever a YAML file, an option or a function takes a name.
3. An entry point of a package that is installed:

       [project.entry-points."pyserini_tasb.scorings"]
       doubled = "my_package.my_module:double"

The second way runs code that a file names. It is honoured in your own files, options and Python. In files of others
(model folders, regressions from elsewhere) it is honoured only for packages that you trust (`--trust PACKAGE`).
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Entry = TypeVar("Entry")
PACKAGE = "pyserini_tasb"
_MODULE_AND_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# None: every package is trusted, because the name stands in the user's own file, option or program.
_trusted: ContextVar[frozenset[str] | None] = ContextVar("trusted packages", default=None)


@contextlib.contextmanager
def only_trusting(packages: Iterable[str]) -> Iterator[None]:
    """Honour `module:name` in the block for these packages alone: it reads files that others wrote."""
    token = _trusted.set(frozenset(packages))
    try:
        yield
    finally:
        _trusted.reset(token)


@dataclass(frozen=True)
class Listed:
    """A name that `tasb list` shows.

    Attributes:
        name: what a YAML file or an option says.
        summary: the first line of the docstring.
        origin: the package or module that brings it.
    """

    name: str
    summary: str
    origin: str


class Registry(Generic[Entry]):
    """Entries of one kind by name.

    Args:
        kind: what an entry is called in errors, such as `fusion method`.
        axis: what entries are called in lists and groups of entry points, such as `fusion-methods`.
        prepared: makes an entry of what was registered from outside or here: checks it, or wraps it.
    """

    def __init__(self, kind: str, axis: str = "", *, prepared: Callable[[str, Any], Entry] | None = None) -> None:
        self.kind, self.axis = kind, axis
        self._prepared = prepared or (lambda _name, entry: cast("Entry", entry))
        self._entries: dict[str, Entry] = {}
        self._raw: dict[str, Any] = {}

    def add(self, name: str, entry: Any) -> None:
        """Make `entry` known as `name`.

        Raises:
            TasbError: something else has that name already.
        """
        if name in self._raw and not _same(self._raw[name], entry):
            raise TasbError(
                expected=f"a name that no {self.kind} has yet",
                found=f"`{name}`, which is of {_origin_of(self._raw[name])}",
                do="choose another name",
            )
        self._raw[name] = entry
        self._entries[name] = self._prepared(name, entry)

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator: make what follows known as `name`. What is decorated stays as it is."""

        def registered(entry: Any) -> Any:
            self.add(name, entry)
            return entry

        return registered

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            TasbError: there is none (the nearest name is suggested), it cannot be imported, or it is `module:name` of a
                package that is not trusted, in a file of somebody else.
        """
        if name not in self._entries:
            if _MODULE_AND_NAME.fullmatch(name):
                self._entries[name] = self._prepared(name, self._named_in_a_module(name))
            elif name in (outside := self._outside()):
                self.add(name, self._loaded(outside[name]))
            else:
                raise self._unknown(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._outside()

    def __iter__(self) -> Iterator[str]:
        """All names: those of this package first, then those that others have brought."""
        return iter(dict.fromkeys([*(name for name in self._entries if ":" not in name), *self._outside()]))

    def listed(self) -> list[Listed]:
        """All names with what they are and where they come from, for `tasb list`."""
        outside = self._outside()
        rows = []
        for name in self:
            if name not in self._raw:
                self[name]
            raw = self._raw[name]
            origin = _distribution(outside[name]) if name in outside else _origin_of(raw)
            rows.append(Listed(name, (inspect.getdoc(raw) or "").partition("\n")[0], origin))
        return rows

    def extensions(self) -> list[str]:
        """Modules outside this package that have registered something, for other processes to import."""
        modules = {_module_of(raw) for raw in self._raw.values()}
        return sorted(module for module in modules if module.partition(".")[0] not in (PACKAGE, "", "__main__"))

    def _named_in_a_module(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        trusted = _trusted.get()
        package = module.partition(".")[0]
        if trusted is not None and package not in trusted:
            raise TasbError(
                expected=f"the name of a {self.kind}: {', '.join(self)}",
                found=f"`{name}`, code of the package {package} that a file of somebody else names",
                do=f"read that code; if you trust it, add {argument('trust', package)}",
            )
        try:
            entry: Any = importlib.import_module(module)
            for part in attribute.split("."):
                entry = getattr(entry, part)
        except (ImportError, AttributeError) as error:
            raise TasbError(
                expected=f"a {self.kind} that can be imported as {module}:{attribute}",
                found=str(error),
                do="install its package, or put its folder on PYTHONPATH",
            ) from error
        self._raw[name] = entry
        return entry

    def _outside(self) -> dict[str, EntryPoint]:
        if not self.axis:
            return {}
        return {point.name: point for point in entry_points(group=f"{PACKAGE}.{self.axis.replace('-', '_')}")}

    def _loaded(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:  # whatever an outside module raises when it is imported
            raise TasbError(
                expected=f"the {self.kind} `{point.name}` of {_distribution(point)}, as its entry point says",
                found=f"{type(error).__name__}: {error}",
                do="repair or uninstall that package",
            ) from error

    def _unknown(self, name: str) -> TasbError:
        known = list(self)
        return TasbError(expected=f"a {self.kind}: {', '.join(known)}", found=f"`{name}`", do=_advice(name, known))


def _advice(name: str, known: Iterable[str]) -> str:
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"did you mean `{folded[close[0]]}`?" if close else "choose one of them"


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
        raise TasbError(
            expected=f"one of {', '.join(known)} for {argument(name)}",
            found=f"`{value}`",
            do=_advice(str(value), known),
        )


def import_extensions(modules: Iterable[str], where: str) -> None:
    """Import modules that had registered something when a file was written.

    Args:
        modules: their names.
        where: the file, for messages.

    Raises:
        TasbError: a module is not here.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise TasbError(
                where=where,
                expected=f"the extension `{module}`, which this was made with",
                found=str(error),
                do="install its package, or put its folder on PYTHONPATH",
            ) from error


def _module_of(entry: Any) -> str:
    return str(getattr(entry, "__module__", None) or type(entry).__module__)


def _origin_of(entry: Any) -> str:
    module = _module_of(entry)
    return "pyserini-tasb" if module.partition(".")[0] == PACKAGE else module


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _same(one: Any, other: Any) -> bool:
    """Whether two entries are one: a module that is imported under two names registers its own twice."""
    return one is other or (
        (_module_of(one), getattr(one, "__qualname__", None))
        == (_module_of(other), getattr(other, "__qualname__", None))
        and hasattr(one, "__qualname__")
    )
