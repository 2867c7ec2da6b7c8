"""benchmarks/walks.py: each walk goes from its beginning to its end, and no further."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.walks import is_function

ROOT = Path(__file__).parents[1]
QUERY, PAIR, LINE = "query to vector", "scored pair to gradient", "line of a run to line of a fused run"


@pytest.fixture(scope="module")
def printed():
    command = [sys.executable, ROOT / "benchmarks" / "walks.py", "--files"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n\n")


@pytest.fixture(scope="module")
def walks(printed):
    """The functions that ran, by walk and file."""
    lists = [part.splitlines() for part in printed[1:]]
    entries = {walk: re.findall(r"^ +\d+  (\S+): (.+)$", "\n".join(lines), re.MULTILINE) for walk, *lines in lists}
    return {walk: {file: functions.split(", ") for file, functions in files} for walk, files in entries.items()}


def test_the_table_counts_what_is_listed(printed, walks):
    rows = re.findall(r"^(\S.*?) +(\d+) +(\d+) +([\d,]+)$", printed[0], re.MULTILINE)
    assert [row[0] for row in rows] == [QUERY, PAIR, LINE] == list(walks)
    for walk, files, functions, lines in rows:
        listed = walks[walk]
        assert int(files) == len(listed) > 5
        assert int(functions) == sum(map(len, listed.values())) > int(files)
        assert int(lines.replace(",", "")) == sum(
            len((ROOT / "pyserini_tasb" / file).read_text().splitlines()) for file in listed
        )


@pytest.mark.parametrize(
    ("walk", "first", "last", "beyond"),
    [
        (QUERY, "install", "TasbQueryEncoder.encode", "TasbDocumentEncoder.encode"),
        (PAIR, "install", "dual_supervision", "CheckpointFolder.save"),
        (LINE, "install", "written_tables", "BertDot.forward"),
    ],
)
def test_where_walks_begin_and_end(walks, walk, first, last, beyond):
    functions = [function for names in walks[walk].values() for function in names]
    assert functions[0] == first
    assert last in functions
    assert beyond not in functions
    assert "<module>" not in functions


def test_what_is_a_function():
    source = "class C:\n  def method(self): pass\nlist(x for x in [])\nf = lambda: 0\ndef g(): pass\n"
    module = compile(source, "source", "exec")
    bodies = [constant for constant in module.co_consts if hasattr(constant, "co_name")]
    bodies += [constant for body in bodies for constant in body.co_consts if hasattr(constant, "co_name")]
    assert not is_function(module)
    assert {body.co_name: is_function(body) for body in bodies} == {
        "C": False, "method": True, "<genexpr>": False, "<lambda>": True, "g": True
    }  # fmt: skip
