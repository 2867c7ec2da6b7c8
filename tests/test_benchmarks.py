"""Benchmark scripts start, and what they name of ours exists: most take too long to be run here."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import MODULE, TASB, parse

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").rglob("*.py"))

# Runs each script with `--help` in a fork of this process, which has imported what takes seconds. Packages of the
# `bench` extra that the `test` extra lacks cannot be imported: a script imports those where it needs them.
START_ALL = """
import json, os, runpy, sys, traceback
from pathlib import Path

import faiss, onnx, onnxruntime, torch
from transformers import AutoModel, AutoTokenizer, DistilBertModel

sys.modules |= dict.fromkeys(("accelerate", "datasets", "sentence_transformers"))
folder, *scripts = sys.argv[1:]
for number, script in enumerate(scripts):
    said = os.open(Path(folder, f"{number}.txt"), os.O_WRONLY | os.O_CREAT)
    child = os.fork()
    if not child:
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = [script, "--help"]
        sys.path[0] = str(Path(script).parent)
        status = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
    print(json.dumps([script, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]), flush=True)
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Exit status of each script, and what it said."""
    folder = tmp_path_factory.mktemp("started")
    done = subprocess.run(
        [sys.executable, "-c", START_ALL, folder, *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    statuses = map(json.loads, done.stdout.splitlines())
    return {script: (status, (folder / f"{n}.txt").read_text()) for n, (script, status) in enumerate(statuses)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_starts(started, script):
    status, said = started[script]
    assert status == 0, said
    has_a_command_line = '__name__ == "__main__"' in (ROOT / script).read_text()
    assert said.startswith("usage: ") == has_a_command_line, said


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_script_imports_exists(script):
    """Wherever it imports it: inside functions, and in programs that it starts."""
    for program in programs((ROOT / script).read_text()):
        tree = ast.parse(program)
        types = {id(node) for block in ast.walk(tree) if is_for_types(block) for node in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == MODULE:
                module = importlib.import_module(node.module)
                # What a module itself imports for types only, it does not have when it runs.
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing or id(node) in types, (node.module, missing)


def is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def programs(text):
    """A script, and those of its strings that are programs."""
    yield text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search("^(from|import) ", node.value):
            try:
                ast.parse(node.value)
            except SyntaxError:  # prose
                continue
            yield node.value


def test_commands_of_the_ablation_are_commands_of_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "ablation"))
    steps = importlib.import_module("steps").steps(Path("msmarco"))
    ours = [step.arguments[len(TASB) :] for step in steps if step.arguments[: len(TASB)] == TASB]
    assert len(ours) > 8
    for arguments in ours:
        parse(*arguments)
