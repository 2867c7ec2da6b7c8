"""The start-up hook: wait for a few of Pyserini's modules and adapt each as it is imported.

Runs at every interpreter start, so it imports the standard library only, and of that only what is loaded anyway: not
even `__future__`, which would be a quarter of the cost. Hence the quoted annotations.
"""

import os
import sys

TYPE_CHECKING = False  # typing's own constant would cost its import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

SWITCH = "PYSERINI_TASB_AUTOLOAD"
_ADAPTED = "__pyserini_tasb__"

# Modules adapted once they have run: module → the adapter, called with the module's namespace.
MODULES = {
    "pyserini.encode": "pyserini_tasb.plugin.commands:adapt_class_maps",
    "pyserini.search.faiss._searcher": "pyserini_tasb.plugin.searchers:adapt_faiss_searcher",
    "pyserini.search.lucene._hnsw_searcher": "pyserini_tasb.plugin.searchers:adapt_lucene_searcher",
}
# Modules that `python -m` runs: adapted once their functions are defined, just before their main block.
COMMANDS = {
    "pyserini.encode.__main__": "pyserini_tasb.plugin.commands:adapt_encode",
    "pyserini.encode.query": "pyserini_tasb.plugin.commands:adapt_encode_query",
    "pyserini.search.faiss.__main__": "pyserini_tasb.plugin.commands:adapt_search_faiss",
    "pyserini.search.hybrid.__main__": "pyserini_tasb.plugin.commands:adapt_other_search",
    "pyserini.search.lucene.__main__": "pyserini_tasb.plugin.commands:adapt_other_search",
}
# Modules that start a JVM (pyclass) or run `java` from PATH (trec_eval): does that need a `java` on PATH?
NEEDS_JAVA = {"pyserini.pyclass": False, "pyserini.eval.trec_eval": True}


class PyseriniFinder:
    """Finds nothing itself: lets the other finders find, then changes the loader of the modules we wait for."""

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if not name.startswith("pyserini."):
            return None
        if name in NEEDS_JAVA:
            _guarded("choosing a Java", _ensure_java, NEEDS_JAVA[name])
        if name not in MODULES and name not in COMMANDS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _guarded(f"waiting for {name}", _wait_for, name, spec.loader)
                return spec
        return None


def install() -> None:
    """What the `.pth` and `.start` files call: `register()`, unless `PYSERINI_TASB_AUTOLOAD=0`."""
    if os.environ.get(SWITCH) != "0":
        register()


def register() -> None:
    """Make `--encoder tasb` known to this process's Pyserini, imported already or not. Idempotent."""
    # By name: two finders, the second from a module loaded again, would delegate to each other for ever.
    if PyseriniFinder.__name__ not in (type(finder).__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, PyseriniFinder())
    for name in (*MODULES, *COMMANDS):
        if name in sys.modules:
            adapt(name, vars(sys.modules[name]))


def adapt(name: str, namespace: "dict[str, Any]") -> None:
    """Adapt the module `name`, whose globals are `namespace`, once."""
    if _ADAPTED not in namespace:
        namespace[_ADAPTED] = True
        _guarded(f"adapting {name}", _adapt, name, namespace)


def _adapt(name: str, namespace: "dict[str, Any]") -> None:
    import importlib

    module, _, function = (MODULES | COMMANDS)[name].partition(":")
    getattr(importlib.import_module(module), function)(namespace)


def _wait_for(name: str, loader: "Any") -> None:
    # Set on this one loader instance: no proxy stands between it and `python -m`, importlib.resources or debuggers.
    if name in MODULES:
        loader.exec_module = _exec_then_adapt(name, loader.exec_module)
    else:
        loader.get_code = _adapt_in_code(loader, loader.get_code)


def _exec_then_adapt(name: str, exec_module: "Callable[[ModuleType], None]") -> "Callable[[ModuleType], None]":
    def run(module: "ModuleType") -> None:
        exec_module(module)
        adapt(name, vars(module))

    return run


def _adapt_in_code(loader: "Any", get_code: "Callable[[str], CodeType | None]") -> "Callable[[str], CodeType | None]":
    def adapted(name: str) -> "CodeType | None":
        code: CodeType | None = _guarded(f"reading {name}", _insert_adapter, loader, name)
        return code or get_code(name)

    return adapted


def _insert_adapter(loader: "Any", name: str) -> "CodeType | None":
    from pyserini_tasb.plugin.insertion import code_with_adapter

    return code_with_adapter(loader, name)


def _ensure_java(needs_path_java: bool) -> None:
    from pyserini_tasb.environment.java import ensure_java

    ensure_java(needs_path_java=needs_path_java)


def _guarded(doing: str, function: "Callable[..., Any]", *arguments: "Any") -> "Any":
    """Our own failure must never break somebody's Pyserini: it becomes one line on stderr."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001
        # Not warnings.warn: `-W error` would make an ImportError of it.
        print(f"pyserini-tasb is off: {doing} failed: {error!r} ({SWITCH}=0 hides this)", file=sys.stderr)
        return None
