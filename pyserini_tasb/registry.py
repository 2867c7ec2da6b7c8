"""Registries: named parts that can be replaced from outside, such as losses, samplings, poolings and fusion methods.

There are three ways to add an entry, and one of them is enough.

1. A decorator, in a module that you import:

       @tasb.register("pairwise-losses", "hinge")
       def hinge(positives, negatives, margins): ...

2. `my_package.my_module:hinge`, wherever a YAML file, an option or a function takes a name.
3. An entry point of a package that is installed:

       [project.entry-points."pyserini_tasb.pairwise_losses"]
       hinge = "my_package.my_module:hinge"

The second way runs code that a file names. It is honoured in your own files, options and programs. In files of others
(model folders, regressions from elsewhere) it is honoured only for packages that you trust: `--trust PACKAGE` on the
command line, `with tasb.trusting("package"):` in Python.

Whatever this package writes names an entry from outside by `module:name`: a checkpoint or a card finds it again, or
its error says which package is missing.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pyserini_tasb.errors import TasbError, argument, with_article

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

Entry = TypeVar("Entry")
Decorated = TypeVar("Decorated")
PACKAGE = "pyserini_tasb"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_MODULE_AND_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

# The registry of each axis. It is imported when it is asked for.
HOMES = {
    "pairwise-losses": "training.losses:PAIRWISE",
    "in-batch-losses": "training.losses:IN_BATCH",
    "samplings": "training.sampling:SAMPLINGS",
    "binnings": "training.binning:BINNINGS",
    "schedules": "training.optimisation:SCHEDULES",
    "in-batch-teachers": "training.teachers:TEACHERS",
    "poolings": "models.poolings:POOLINGS",
    "back-ends": "encoding.onnx_runtime:BACKENDS",
    "pair-scorers": "reranking.scorers:SCORERS",
    "index-kinds": "indexes.build:KINDS",
    "fusion-methods": "fusion.methods:METHODS",
    "normalizations": "fusion.methods:NORMALISATIONS",
    "corpus-readers": "formats.collections:READERS",
    "topic-readers": "formats.topics:READERS",
}


def register(axis: str, name: str) -> Callable[[Decorated], Decorated]:
    """Decorator that registers what follows under a name, and returns it unchanged.

    Args:
        axis: the kind of entry: one that `tasb list` shows with an origin, such as `pairwise-losses`.
        name: the name by which YAML files, options and functions call it.

    Raises:
        TasbError: the axis does not exist, the name is taken, or the entry is of another kind.
    """
    return registry_of(axis).register(name)


def registry_of(axis: str) -> Registry[Any]:
    """The registry of an axis.

    Raises:
        TasbError: there is no such axis.
    """
    if axis not in HOMES:
        raise TasbError(
            expected=f"an axis, which is a kind of names: {', '.join(HOMES)}",
            found=f"`{axis}`",
            do=nearest_advice(axis, HOMES),
        )
    module, _, name = HOMES[axis].partition(":")
    registry: Registry[Any] = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    return registry


# None: nobody else's file is being read, so that every package is trusted.
_honoured: ContextVar[frozenset[str] | None] = ContextVar("packages whose code a file may name", default=None)
_TRUSTED: list[frozenset[str]] = []  # of each block that is open now, in whatever thread
# Modules outside this package that have registered something.
_REGISTERING: set[str] = set()


@contextlib.contextmanager
def trusting(*packages: str) -> Iterator[None]:
    """Trust packages inside a `with` block: files of others may then name code of these packages as `module:name`.

    Args:
        packages: the names under which the packages are imported.

    Raises:
        TasbError: a package cannot be imported.
    """
    for package in packages:
        if not (package.isidentifier() and importlib.util.find_spec(package)):
            raise TasbError(
                expected=f"a package that can be imported, for {argument('trust')}",
                found=f"`{package}`",
                do="give the name under which it is imported (`my_package`, not `my-package`)",
            )
    block = frozenset(packages)
    _TRUSTED.append(block)
    try:
        yield
    finally:
        _TRUSTED.remove(block)


def trusted_packages() -> frozenset[str]:
    """The packages that are trusted now, for a process that does a part of the work."""
    return frozenset().union(*_TRUSTED)


def registering_modules() -> tuple[str, ...]:
    """The modules outside this package that have registered something, for a process that does a part of the work."""
    return tuple(sorted(_REGISTERING))


def untrusted_package(word: str) -> str | None:
    """The package whose code a word of a command names, as `module:name` or `module:name:path`, if it is not trusted.

    Args:
        word: such as `--method=my_package.fusion:squares`.
    """
    for place in (0, *(match.end() for match in re.finditer("=", word))):
        if found := re.match(rf"{_MODULE_AND_NAME.pattern}(:|$)", word[place:]):
            package = re.split(r"[.:]", found[0])[0]
            if package not in {"tasb", *trusted_packages()}:  # `tasb:minilm` is an encoder
                return package
    return None


@contextlib.contextmanager
def files_of_others() -> Iterator[None]:
    """In the block, honour `module:name` for trusted packages only: it reads what others wrote."""
    token = _honoured.set(trusted_packages())
    try:
        yield
    finally:
        _honoured.reset(token)


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


@dataclass(frozen=True)
class _Registered:
    raw: Any  # what was registered
    origin: str  # the module that registered it


class Registry(Generic[Entry]):
    """Entries of one kind, by name.

    Args:
        kind: what an entry is called in errors, such as `fusion method`.
        axis: what entries are called in lists and groups of entry points, such as `fusion-methods`.
        prepared: checks or wraps each registered entry, and returns the entry to use.
        takes: the arguments with which an entry is called, in words; None if they are not checked.
        instances: types of entries that are not called.
    """

    def __init__(
        self,
        kind: str,
        axis: str = "",
        *,
        prepared: Callable[[str, Any], Entry] | None = None,
        takes: tuple[str, ...] | None = None,
        instances: tuple[type, ...] = (),
    ) -> None:
        self.kind, self.axis, self._takes, self._instances = kind, axis, takes, instances
        self._prepared = prepared or (lambda _name, entry: cast("Entry", entry))
        self._entries: dict[str, Entry] = {}
        self._registered: dict[str, _Registered] = {}

    def add(self, name: str, entry: Any) -> None:
        """Register `entry` under `name`.

        Raises:
            TasbError: the name is taken, or the entry is of another kind.
        """
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise TasbError(
                expected=f"a name for a {self.kind}: letters, digits and any of . _ + -",
                found=repr(name),
                do="choose another name",
            )
        origin = _registering_module()
        before = self._registered.get(name)
        if before is not None and not (before.raw is entry or _is_anew(before, entry, origin)):
            raise TasbError(
                expected=f"a name that no {self.kind} has yet",
                found=f"`{name}`, which {_shown_origin(before.origin)} has registered",
                do="choose another name",
            )
        self._put(name, entry, origin)
        if origin.partition(".")[0] not in (PACKAGE, "__main__"):
            _REGISTERING.add(origin)

    def register(self, name: str) -> Callable[[Decorated], Decorated]:
        """Decorator that registers what follows under `name`, and returns it unchanged."""

        def registered(entry: Decorated) -> Decorated:
            self.add(name, entry)
            return entry

        return registered

    def remove(self, name: str) -> None:
        """Remove the entry that was registered under `name`."""
        self._registered.pop(name, None)
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            TasbError: there is none (the nearest name is suggested), it cannot be imported, or it is `module:name` of a
                package that is not trusted, in a file of somebody else.
        """
        if not isinstance(name, str):
            raise TasbError(
                expected=f"the name of a {self.kind}: {', '.join(self)}",
                found=repr(name),
                do=f'register it: tasb.register("{self.axis}", "a-name")(…), and give that name',
            )
        if _MODULE_AND_NAME.fullmatch(name):
            self._require_trust(name)  # also of what the user's own file has named before
            if name not in self._entries:
                self._put(name, self._imported(name), name.partition(":")[0])
        elif name not in self._entries:
            self._load(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._outside()

    def __iter__(self) -> Iterator[str]:
        """All names: those of this package first, then those that others have brought."""
        return iter(dict.fromkeys([*(name for name in self._entries if ":" not in name), *self._outside()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def reference(self, name: str) -> str:
        """The name by which other processes and later runs find the entry, whatever they have imported.

        This is the name itself for an entry of this package, and `module:name` for any other. An entry that no
        module has under its own name (one of a script, inside a function, or renamed in a module) keeps its name.

        Raises:
            TasbError: as for `registry[name]`.
        """
        self[name]
        found = self._registered[name]
        if ":" in name or found.origin.partition(".")[0] == PACKAGE:
            return name
        for module, attribute in self._places(name, found):
            at: Any = sys.modules.get(module)
            for part in attribute.split("."):
                at = getattr(at, part, None)
            if at is found.raw and module != "__main__":
                return f"{module}:{attribute}"
        return name

    def portable(self, name: str) -> str:
        """The same as `reference`, for an entry that other processes must find.

        Raises:
            TasbError: other processes cannot find it, because the script itself defines it.
        """
        found = self.reference(name)
        if ":" not in found and self._registered[name].origin == "__main__":
            raise TasbError(
                expected=f"{with_article(self.kind)} that other processes find",
                found=f"`{name}`, which the script itself defines",
                do="move it into a module, and name it `module:name`",
            )
        return found

    def is_own(self, name: str) -> bool:
        """True if the entry comes with this package."""
        found = self._registered.get(name)
        return found is not None and found.origin.partition(".")[0] == PACKAGE

    def listed(self) -> list[Listed]:
        """All names, each with its origin and a line about it, for `tasb list`. The line of a broken entry says why."""
        rows = []
        for name in self:
            try:
                self[name]
            except TasbError as error:
                points = self._outside()[name]
                rows.append(Listed(name, f"cannot be used: {error.found}", _distributions(points)))
            else:
                found = self._registered[name]
                rows.append(Listed(name, summary_of(found.raw), _shown_origin(found.origin)))
        return rows

    def _put(self, name: str, entry: Any, origin: str) -> None:
        if not (self._instances and isinstance(entry, self._instances)):
            if self._takes is not None:
                require_callable(self.kind, name, entry, self._takes)
            elif self._instances:
                raise TasbError(
                    expected=f"{with_article(self.kind)}, which is a "
                    f"{' or '.join(each.__name__ for each in self._instances)}",
                    found=f"`{name}`, a {type(entry).__name__}",
                    do="fix it (docs/extend.md explains entries)",
                )
        self._entries[name] = self._prepared(name, entry)
        self._registered[name] = _Registered(entry, origin)

    def _load(self, name: str) -> None:
        """Import what an entry point names."""
        points = self._outside().get(name)
        if points is None:
            known = list(self)
            raise TasbError(
                expected=f"{with_article(self.kind)}: {', '.join(known)}",
                found=f"`{name}`",
                do=nearest_advice(name, known),
            )
        if len({point.value for point in points}) > 1:
            raise TasbError(
                expected=f"one {self.kind} `{name}`",
                found=f"those of {_distributions(points)}",
                do="name it `module:name`, or uninstall one of them",
            )
        try:
            entry = points[0].load()
            self._put(name, entry, _distributions(points))
        except Exception as error:  # whatever an outside module raises when it is imported
            found = error.found if isinstance(error, TasbError) else f"{type(error).__name__}: {error}"
            raise TasbError(
                expected=f"the {self.kind} `{name}` of {_distributions(points)}, as its entry point says",
                found=found,
                do="fix or uninstall that package",
            ) from error

    def _places(self, name: str, found: _Registered) -> Iterator[tuple[str, str]]:
        """Modules and attributes where an entry from outside may stand."""
        for point in self._outside().get(name, ()):
            yield point.module, point.attr
        yield str(getattr(found.raw, "__module__", "")), str(getattr(found.raw, "__qualname__", ""))

    def _require_trust(self, name: str) -> None:
        package, honoured = re.split(r"[.:]", name)[0], _honoured.get()
        if honoured is not None and package not in honoured:
            raise TasbError(
                expected=f"the name of a {self.kind}: {', '.join(self)}",
                found=f"`{name}`, code of the package {package}, named by a file of another author",
                do=f"read that code; if you trust it, add `--trust {package}` to `tasb` (in Python: "
                f'`with tasb.trusting("{package}"):`), or copy the file to your own folder',
            )

    def _imported(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        folder = str(Path.cwd())  # where `python -m` looks first, and the command `tasb` does not
        if folder not in sys.path and not sys.flags.safe_path:
            sys.path.append(folder)
        expected = f"{with_article(self.kind)} that can be imported as {module}:{attribute}"
        try:
            entry: Any = importlib.import_module(module)
        except Exception as error:  # whatever an outside module raises when it is imported
            missing = isinstance(error, ModuleNotFoundError)
            raise TasbError(
                expected=expected,
                found=f"{type(error).__name__}: {error}",
                do="install its package, or put its folder on PYTHONPATH" if missing else "fix that module",
            ) from error
        for part in attribute.split("."):
            if not hasattr(entry, part):
                advice = nearest_advice(part, dir(entry), "give the name of an object in that module")
                raise TasbError(expected=expected, found=f"no `{part}` there", do=advice)
            entry = getattr(entry, part)
        return entry

    def _outside(self) -> dict[str, list[EntryPoint]]:
        if not self.axis:
            return {}
        from importlib.metadata import entry_points  # slow, and names of our own never need it

        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=f"{PACKAGE}.{self.axis.replace('-', '_')}"):
            found.setdefault(point.name, []).append(point)
        return found


def _is_anew(before: _Registered, entry: Any, origin: str) -> bool:
    """True if an entry from outside is registered again: by a notebook's cell, or a module that is loaded again."""
    names = [getattr(each, "__qualname__", type(each).__qualname__) for each in (before.raw, entry)]
    return before.origin == origin and origin.partition(".")[0] != PACKAGE and names[0] == names[1]


def _registering_module() -> str:
    """The module whose line registers something."""
    frame = sys._getframe()  # noqa: SLF001 - as `warnings` and `dataclasses` find their caller
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "__main__"))


def require_callable(kind: str, name: str, entry: Any, takes: tuple[str, ...]) -> None:
    """Refuse an entry that cannot be called as it will be.

    Args:
        kind: what the entry is.
        name: the name of the entry.
        entry: the object in that module.
        takes: what it will be called with, in words.

    Raises:
        TasbError: it is no function, or takes something else.
    """
    try:
        inspect.signature(entry).bind(*takes)
    except (TypeError, ValueError) as error:  # ValueError: a function in C that does not say what it takes
        if callable(entry) and isinstance(error, ValueError):
            return
        raise TasbError(
            expected=f"{with_article(kind)} that takes {', '.join(takes)}",
            found=f"`{name}`: {error}",
            do="fix it (docs/extend.md explains entries)",
        ) from error


def package_of(name: str) -> str | None:
    """The package whose code a name means, if it is `module:name`."""
    module, colon, _ = name.partition(":")
    return module.partition(".")[0] if colon else None


def nearest_advice(name: str, known: Iterable[str], otherwise: str = "choose one of them") -> str:
    """The advice about an unknown name, for a message: the known one that is most like it, or `otherwise`."""
    folded = {each.lower().strip("-"): each for each in known}  # the dashes of options are alike in all
    close = difflib.get_close_matches(name.lower().strip("-"), folded, n=1)
    return f"did you mean `{folded[close[0]]}`?" if close else otherwise


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
            do=nearest_advice(str(value), known),
        )


def _shown_origin(origin: str) -> str:
    return "pyserini-tasb" if origin.partition(".")[0] == PACKAGE else origin


def summary_of(entry: Any) -> str:
    """The line about an entry that lists show: its `summary`, or the first line of its docstring."""
    said = getattr(entry, "summary", None)
    return said if isinstance(said, str) else (inspect.getdoc(entry) or "").partition("\n")[0]


def _distributions(points: list[EntryPoint]) -> str:
    return " and ".join(sorted({point.dist.name if point.dist else point.module for point in points}))
