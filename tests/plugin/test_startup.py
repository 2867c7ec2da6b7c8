"""The start-up hook: cheap, idempotent, can be switched off, and never breaks somebody's Pyserini."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

FINDER = "PyseriniFinder"
COUNT_FINDERS = f"import sys; print([type(f).__name__ for f in sys.meta_path].count('{FINDER}'))"


def python(code, *options, **environment):
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_live_after_installation():
    assert python(COUNT_FINDERS).stdout == "1\n"


def test_switched_off():
    assert python(COUNT_FINDERS, PYSERINI_TASB_AUTOLOAD="0").stdout == "0\n"


def test_idempotent():
    again = "import pyserini_tasb.plugin.startup as s; s.install(); s.register_encoders(); import pyserini_tasb; "
    assert python(again + "pyserini_tasb.register_encoders(); " + COUNT_FINDERS).stdout == "1\n"


def test_says_nothing_and_imports_nothing_heavy():
    code = "import sys; print({'torch', 'numpy', 'yaml', 'pydantic', 'ast', 'typing', 'jnius'} & set(sys.modules))"
    done = python(code)
    assert done.stdout == "set()\n"
    assert done.stderr == ""


def test_costs_less_than_a_millisecond():
    def cost():
        # Compiled once, as after any installation; an environment that forbids bytecode would measure the compiler.
        report = python("pass", "-X", "importtime", PYTHONDONTWRITEBYTECODE="").stderr
        return int(re.search(r"\| +(\d+) \| +pyserini_tasb.plugin.startup$", report, re.MULTILINE)[1])  # cumulative

    patience = time.monotonic() + 60  # other work on the machine slows single starts
    while (microseconds := cost()) >= 1000:
        assert time.monotonic() < patience, f"{microseconds} µs"
        time.sleep(0.3)


def test_register_by_hand_adapts_what_is_imported_already(suitable_java):
    code = (
        "import pyserini.search.faiss; from pyserini.encode import query_encoder_class_map as m, "
        "document_encoder_class_map as d; held = m; print('tasb' in m); import pyserini_tasb; "
        "pyserini_tasb.register_encoders(); pyserini_tasb.register_encoders(); "
        "print(list(m)[:3], m['tasb'].__name__, d['tasb'].__name__, m is held)"
    )
    out = python(code, PYSERINI_TASB_AUTOLOAD="0").stdout.splitlines()
    assert out[-2:] == ["False", "['tasb', 'tas_b', 'tas-b'] TasbQueryEncoder TasbDocumentEncoder True"]


@pytest.mark.parametrize("options", [[], ["-W", "error::UserWarning"]])
def test_our_failure_is_one_line(suitable_java, options):
    broken = "import pyserini_tasb.plugin.startup as s; s.MODULES['pyserini.encode'] = 'no.such:thing'; "
    code = broken + "import pyserini.encode; print(len(pyserini.encode.query_encoder_class_map) > 10)"
    done = python(code, *options)
    assert done.stdout.splitlines()[-1] == "True"
    assert done.stderr.count("pyserini-tasb is off") == 1
    assert "adapting pyserini.encode failed: ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("close", ["os.close(2)", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "sys.stderr = None"])
def test_our_failure_breaks_nothing_where_the_line_cannot_be_printed(suitable_java, close):
    if "/dev/full" not in close and not version("pyserini").startswith("1."):
        pytest.skip("Pyserini 2 itself cannot be imported without a standard error")
    # Ended by os._exit: with such a stderr Python's own exit status is 120.
    code = (
        f"import os, sys; {close}; import pyserini_tasb.plugin.startup as s; "
        "s.MODULES['pyserini.encode'] = 'no.such:thing'; import pyserini.encode; "
        "print(len(pyserini.encode.query_encoder_class_map) > 10); sys.stdout.flush(); os._exit(0)"
    )
    done = python(code)
    assert done.stdout.splitlines()[-1] == "True"
    assert "is off" not in done.stdout


def test_an_old_finder_beside_us_breaks_nothing(suitable_java):
    code = (
        "import sys; OldFinder = type('OldFinder', (), {'find_module': lambda self, name, path=None: None}); "
        "sys.meta_path[:] = [OldFinder(), *sys.meta_path, OldFinder()]; import pyserini.encode; "
        "print('tasb' in pyserini.encode.query_encoder_class_map)"
    )
    assert python(code).stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("module", ["pyserini.search.faiss.__main__", "pyserini.encode.query"])
def test_commands_keep_their_source_and_file(suitable_java, module):
    # Debuggers, inspect and importlib.resources see the stock module: only its code was changed.
    code = (
        f"import importlib, inspect, linecache; m = importlib.import_module('{module}'); "
        "print('pyserini_tasb' in inspect.getsource(m), m.__spec__.loader.__class__.__name__, m.__file__ is not None)"
    )
    assert python(code).stdout.splitlines()[-1] == "False SourceFileLoader True"
