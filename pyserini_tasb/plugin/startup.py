"""The start-up hook: wait for a few of Pyserini's modules and adapt each as it is imported.

This runs at every interpreter start. It imports only those modules of the standard library that are loaded anyway: not
even `__future__`, which would be a quarter of the cost. That is why annotations are quoted.

Three techniques are left. Each was taken out in turn, and a test failed that says what it is for:

* The finder waits for modules that are not imported yet. Without it `--encoder tasb` is unknown to stock commands:
  `tests/plugin/test_startup.py::test_live_after_installation`.
* The adapter's call is inserted into a module's code (`insertion.py`). Without it nothing is adapted that `python -m`
  runs: `tests/plugin/test_stock_commands.py::test_explicit_class_wins_over_the_name`.
* Stock functions are cloned over a class map without our keys (`commands.py`). Without it a path that only contains our
  letters leads to our encoder: `tests/plugin/test_names.py::test_no_other_encoder_behaves_differently`.

A fourth one, a loader's own `exec_module`, is gone: it calls the loader's `get_code`, which is replaced for the second.
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

# Module → its adapter, called with the module's namespace once its functions are defined: at the end of the module, or
# just before the main block of one that `python -m` runs.
MODULES = {
    "pyserini.encode": "pyserini_tasb.plugin.commands:adapt_class_maps",
    "pyserini.encode.__main__": "pyserini_tasb.plugin.commands:adapt_encode",
    "pyserini.encode.query": "pyserini_tasb.plugin.commands:adapt_encode_query",
    "pyserini.search.faiss.__main__": "pyserini_tasb.plugin.commands:adapt_search_faiss",
    "pyserini.search.faiss._searcher": "pyserini_tasb.plugin.searchers:adapt_faiss_searcher",
    "pyserini.search.hybrid.__main__": "pyserini_tasb.plugin.commands:adapt_other_search",
    "pyserini.search.lucene.__main__": "pyserini_tasb.plugin.commands:adapt_other_search",
    "pyserini.search.lucene._hnsw_searcher": "pyserini_tasb.plugin.searchers:adapt_lucene_searcher",
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
        if name not in MODULES:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):  # an old one, which Python passes over as well
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _guarded(f"waiting for {name}", _wait_for, spec.loader)
                return spec
        return None


def install() -> None:
    """Call `register_encoders()`, unless `PYSERINI_TASB_AUTOLOAD=0`; the `.pth` and `.start` files call this."""
    if os.environ.get(SWITCH) != "0":
        register_encoders()


def register_encoders() -> None:
    """Make `--encoder tasb` known to Pyserini in this process, even if Pyserini is imported already.

    A second call changes nothing.
    """
    # By name: two finders, the second from a module loaded again, would delegate to each other for ever.
    if PyseriniFinder.__name__ not in (type(finder).__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, PyseriniFinder())
    for name in MODULES:
        if name in sys.modules:
            adapt(name, vars(sys.modules[name]))


def adapt(name: str, namespace: "dict[str, Any]") -> None:
    """Adapt the module `name`, whose globals are `namespace`, once."""
    if _ADAPTED not in namespace:
        namespace[_ADAPTED] = True
        _guarded(f"adapting {name}", _adapt, name, namespace)


def _adapt(name: str, namespace: "dict[str, Any]") -> None:
    import importlib

    module, _, function = MODULES[name].partition(":")
    getattr(importlib.import_module(module), function)(namespace)


def _wait_for(loader: "Any") -> None:
    get_code: Callable[[str], CodeType | None] = loader.get_code

    def adapted(name: str) -> "CodeType | None":
        code: CodeType | None = _guarded(f"reading {name}", _insert_adapter, loader, name)
        return code or get_code(name)

    # Set on this one loader instance: no proxy stands between it and `python -m`, importlib.resources or debuggers.
    # Both runpy and the loader's own `exec_module` ask it for the code.
    loader.get_code = adapted


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
        say(f"pyserini-tasb is off: {doing} failed: {error!r} ({SWITCH}=0 hides this)")
        return None


def say(line: str) -> None:
    """Print a line on stderr, unless that is closed, full or broken: no reason for somebody's Pyserini to stop."""
    if sys.stderr is not None:  # where it is, print() would take stdout
        try:  # noqa: SIM105 - contextlib would have to be imported
            print(line, file=sys.stderr)
        except OSError:
            pass
