"""Whatever has a name here can be replaced from outside: losses, samplings, poolings, back ends, fusion methods, …

There are three ways in, and each is enough alone.

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
import inspect
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

Entry = TypeVar("Entry")
Decorated = TypeVar("Decorated")
PACKAGE = "pyserini_tasb"
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
    """Decorator: make what follows known under a name. What is decorated stays as it is.

    Args:
        axis: what it is: one of those that `tasb list` shows with an origin, such as `pairwise-losses`.
        name: how YAML files, options and functions will call it.

    Raises:
        TasbError: there is no such axis, or something else has that name.
    """
    return registry_of(axis).register(name)


def registry_of(axis: str) -> Registry[Any]:
    """The registry of an axis.

    Raises:
        TasbError: there is no such axis.
    """
    if axis not in HOMES:
        raise TasbError(expected=f"an axis: {', '.join(HOMES)}", found=f"`{axis}`", do=nearest_advice(axis, HOMES))
    module, _, name = HOMES[axis].partition(":")
    registry: Registry[Any] = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    return registry


# None: nobody else's file is being read, so that every package is trusted.
_honoured: ContextVar[frozenset[str] | None] = ContextVar("packages whose code a file may name", default=None)
# All threads of the process have it.
_trusted: frozenset[str] = frozenset()


@contextlib.contextmanager
def trusting(*packages: str) -> Iterator[None]:
    """Trust these packages in the block: files of others may name their code as `module:name`.

    Args:
        packages: their top-level modules.
    """
    global _trusted  # noqa: PLW0603 - what a thread or a context has of its own, the threads inside do not see
    before = _trusted
    _trusted |= {package.partition(".")[0] for package in packages}
    try:
        yield
    finally:
        _trusted = before


def trusted_packages() -> frozenset[str]:
    """The packages that are trusted now, for a process that does a part of the work."""
    return _trusted


def untrusted_package(word: str) -> str | None:
    """The package whose code a word of a command names, `module:name` or `module:name:path`, if it is not trusted."""
    found = re.match(rf"({_MODULE_AND_NAME.pattern})(:|$)", word)
    package = re.split(r"[.:]", word)[0] if found else None
    # `tasb:minilm` is an encoder, and this package's own code is no danger.
    return None if package in {"tasb", PACKAGE, *_trusted} else package


@contextlib.contextmanager
def files_of_others() -> Iterator[None]:
    """In the block, honour `module:name` for trusted packages only: it reads what others wrote."""
    token = _honoured.set(_trusted)
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

    def register(self, name: str) -> Callable[[Decorated], Decorated]:
        """Decorator: make what follows known as `name`. What is decorated stays as it is."""

        def registered(entry: Decorated) -> Decorated:
            self.add(name, entry)
            return entry

        return registered

    def remove(self, name: str) -> None:
        """Forget what was registered as `name`."""
        self._raw.pop(name, None)
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            TasbError: there is none (the nearest name is suggested), it cannot be imported, or it is `module:name` of a
                package that is not trusted, in a file of somebody else.
        """
        if _MODULE_AND_NAME.fullmatch(name):
            self._require_trust(name)  # also of what the user's own file has named before
            if name not in self._entries:
                self._raw[name] = self._imported(name)
                self._entries[name] = self._prepared(name, self._raw[name])
        elif name not in self._entries:
            if name not in (outside := self._outside()):
                raise self._unknown(name)
            self.add(name, self._loaded(outside[name]))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._outside()

    def __iter__(self) -> Iterator[str]:
        """All names: those of this package first, then those that others have brought."""
        return iter(dict.fromkeys([*(name for name in self._entries if ":" not in name), *self._outside()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def reference(self, name: str) -> str:
        """The name under which other processes and later runs find the entry, whatever has been imported there.

        That is `module:name` for what is from outside, and the name itself for what is from here. A script's own
        entries keep their names too: only the script can register them.

        Raises:
            TasbError: as for `registry[name]`.
        """
        self[name]
        raw = self._raw[name]
        if _module_of(raw).partition(".")[0] in (PACKAGE, "__main__") or ":" in name:
            return name
        if name in (outside := self._outside()):
            return outside[name].value
        qualified = getattr(raw, "__qualname__", "<instance>")
        return name if "<" in qualified else f"{_module_of(raw)}:{qualified}"

    def listed(self) -> list[Listed]:
        """All names with what they are and where they come from, for `tasb list`."""
        outside = self._outside()
        rows = []
        for name in self:
            if name not in self._raw:
                self[name]
            raw = self._raw[name]
            origin = _distribution(outside[name]) if name in outside else _origin_of(raw)
            rows.append(Listed(name, summary_of(raw), origin))
        return rows

    def _require_trust(self, name: str) -> None:
        package, honoured = re.split(r"[.:]", name)[0], _honoured.get()
        if honoured is not None and package not in honoured:
            raise TasbError(
                expected=f"the name of a {self.kind}: {', '.join(self)}",
                found=f"`{name}`, code of the package {package} that a file of somebody else names",
                do=f"read that code; if you trust it, add `--trust {package}` "
                f'(in Python: `with tasb.trusting("{package}"):`)',
            )

    def _imported(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        folder = str(Path.cwd())  # where `python -m` looks first, and the command `tasb` does not
        if folder not in sys.path and not sys.flags.safe_path:
            sys.path.append(folder)
        try:
            entry: Any = importlib.import_module(module)
            for part in attribute.split("."):
                entry = getattr(entry, part)
        except Exception as error:  # whatever an outside module raises when it is imported
            raise TasbError(
                expected=f"a {self.kind} that can be imported as {module}:{attribute}",
                found=f"{type(error).__name__}: {error}",
                do="install its package, or put its folder on PYTHONPATH; if it is there, repair it",
            ) from error
        return entry

    def _outside(self) -> dict[str, EntryPoint]:
        if not self.axis:
            return {}
        from importlib.metadata import entry_points  # slow, and names of our own never need it

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
        return TasbError(
            expected=f"a {self.kind}: {', '.join(known)}", found=f"`{name}`", do=nearest_advice(name, known)
        )


def nearest_advice(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is none of those known: take the nearest, if one is near."""
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
            do=nearest_advice(str(value), known),
        )


def _module_of(entry: Any) -> str:
    return str(getattr(entry, "__module__", None) or type(entry).__module__)


def _origin_of(entry: Any) -> str:
    module = _module_of(entry)
    return "pyserini-tasb" if module.partition(".")[0] == PACKAGE else module


def summary_of(entry: Any) -> str:
    """What an entry says of itself: its `summary`, or the first line of its docstring."""
    said = getattr(entry, "summary", None)
    return said if isinstance(said, str) else (inspect.getdoc(entry) or "").partition("\n")[0]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _same(one: Any, other: Any) -> bool:
    """Whether two entries are one: a module that is imported under two names registers its own twice."""
    return one is other or (
        (_module_of(one), getattr(one, "__qualname__", None))
        == (_module_of(other), getattr(other, "__qualname__", None))
        and hasattr(one, "__qualname__")
    )
