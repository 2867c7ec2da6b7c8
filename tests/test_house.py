"""The house: imports go downward and in no circle, only the command line prints and exits, docstrings read well."""

from __future__ import annotations

import ast
import itertools
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyserini_tasb"
# From the roof down: a room may import from those below it, and from itself. Names in one line may not know each other.
STOREYS = (
    ("__main__",),
    ("cli",),
    ("demo", "adaptation"),
    ("regression",),
    ("training",),
    ("data",),
    ("reranking", "expansion", "retrieval"),
    ("plugin",),
    ("indexes",),
    ("encoding",),
    ("models",),
    ("fusion",),
    ("evaluation",),
    ("formats",),
    ("environment",),
    ("recipes",),
    ("pages",),
    ("plots",),
    ("results", "resume"),
    ("outputs",),
    ("ray_cluster",),
    ("workers", "commands", "artifacts", "supervisor", "tables"),
    ("registry", "folders", "bars"),
    ("parsing",),
    ("errors",),
    ("__init__",),
)
HEIGHT = {room: -number for number, rooms in enumerate(STOREYS) for room in rooms}
# What is not as it should be. Only ever take away from these.
UPWARD: set[tuple[str, str]] = set()
CYCLES: list[set[str]] = []
# What only these rooms do, and who else may.
ROOMS_THAT_SPEAK = ("cli", "plugin", "__main__")
PRINTS = {
    "environment.java",  # one line in other people's programs, which have no logging of ours
}
PARSES: set[str] = set()
EXITS: set[str] = set()


@cache
def modules():
    """Module name, without the package's, and its tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = ast.parse(path.read_text())
    return found


def imported_by(tree):
    """Modules of ours that run when this one does, at the top or in a function; types for checkers are not run."""
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyserini_tasb":
            base = node.module.partition(".")[2]
            for alias in node.names:
                inner = ".".join(filter(None, (base, alias.name)))
                yield inner if inner in modules() else base or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pyserini_tasb":
                    yield alias.name.partition(".")[2] or "__init__"


def nodes(tree):
    """All nodes but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from nodes(child)


@cache
def arrows():
    """Module → those that it imports."""
    return {name: {each for each in imported_by(tree) if each != name} for name, tree in modules().items()}


def room(module):
    return module.split(".")[0]


def test_every_room_has_its_storey():
    assert {room(name) for name in modules()} == set(HEIGHT)


def test_imports_go_downward():
    upward = {
        (module, other)
        for module, others in arrows().items()
        for other in others
        if room(other) != room(module) and HEIGHT[room(other)] >= HEIGHT[room(module)]
    }
    assert upward == UPWARD


def test_no_module_imports_itself_by_a_detour():
    found = [group for group in strongly_connected(arrows()) if len(group) > 1]
    assert sorted(map(sorted, found)) == sorted(map(sorted, CYCLES))


def strongly_connected(graph):
    """Tarjan's algorithm, with recursion: groups of modules that all reach each other."""
    index, low, stack, groups = {}, {}, [], []
    counter = itertools.count()

    def visit(node):
        index[node] = low[node] = next(counter)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            place = stack.index(node)
            groups.append(set(stack[place:]))
            del stack[place:]

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def calls(tree, *names):
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) in names for node in ast.walk(tree))


def imports(tree, name):
    return any(
        (isinstance(node, ast.Import) and any(alias.name == name for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == name)
        for node in nodes(tree)
    )


@pytest.mark.parametrize(
    ("does", "exceptions"),
    [
        pytest.param(lambda tree: calls(tree, "print"), PRINTS, id="print"),
        pytest.param(lambda tree: calls(tree, "sys.exit", "exit", "quit"), EXITS, id="exit"),
        pytest.param(lambda tree: imports(tree, "argparse"), PARSES, id="argparse"),
    ],
)
def test_only_the_command_line_and_the_plugin(does, exceptions):
    found = {name for name, tree in modules().items() if room(name) not in ROOMS_THAT_SPEAK and does(tree)}
    assert found == exceptions


WORDS_TO_BEGIN_OTHERWISE = ("Of", "As", "For", "What")  # a docstring says what a thing is


def test_no_docstring_begins_with_a_word_that_needs_a_second_reading():
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        f"{name}: {docstring.splitlines()[0]}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and (docstring := ast.get_docstring(node) or "").partition(" ")[0] in WORDS_TO_BEGIN_OTHERWISE
    ]
    assert found == []
