"""`ensure_java` in a process of its own, as the start-up hook calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.environment.java import Java, candidates, find_java

if TYPE_CHECKING:
    from tests.environment.conftest import MakeJava


pytest.importorskip("jnius_config")

ROOT = Path(__file__).parents[2]
CLEARED = ("JAVA_HOME", "JDK_HOME", "JRE_HOME", "JVM_PATH", "CONDA_PREFIX", "PYSERINI_TASB_JAVA")
SHOW = "\nimport os, shutil; print(os.environ.get('JAVA_HOME'), shutil.which('java'))"
ANSERINI = "import pyserini.pyclass; from jnius import autoclass; autoclass('io.anserini.analysis.AnalyzerUtils')"


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in CLEARED}
    # The hook of an installed copy would fix things before the program does.
    environment |= {"PYSERINI_TASB_AUTOLOAD": "0", "PYTHONPATH": str(ROOT)} | variables
    # The interpreter may be a conda environment's that has a JDK.
    start = "import sys; sys.prefix = '/nowhere'\nfrom pyserini_tasb.environment.java import ensure_java\n"
    return subprocess.run(
        [sys.executable, "-c", start + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_newer_java_beside_is_used_and_said_once(make_java: MakeJava):
    old, new = make_java("old", "17.0.2"), make_java("new", "21.0.2")
    call = f"ensure_java(system_folders=[{str(new)!r}])\n"
    done = run(call + call + SHOW, PATH=f"{old}/bin")
    assert done.stdout.split() == [str(new), str(new / "bin" / "java")]
    assert done.stderr == (
        f"pyserini-tasb: Pyserini's Java ({old}, from `javac` on PATH) is Java 17, Pyserini needs 21 or newer; "
        f"using Java 21 in {new} instead (PYSERINI_TASB_JAVA=0 switches this off)\n"
    )


def test_children_inherit_it_silently(make_java: MakeJava):
    old, new = make_java("old", "17.0.2"), make_java("new", "21.0.2")
    call = f"ensure_java(True, [{str(new)!r}])"
    child = f"from pyserini_tasb.environment.java import ensure_java; {call}"
    done = run(f"{call}\nimport subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", PATH=f"{old}/bin")
    assert done.stderr.count("pyserini-tasb:") == 1


def test_nothing_is_touched_where_all_is_well(make_java: MakeJava):
    good, other = make_java("good", "25.0.2"), make_java("other", "21.0.2")
    done = run(f"ensure_java(True, [{str(other)!r}])" + SHOW, PATH=f"{good}/bin")
    assert done.stdout.split() == ["None", str(good / "bin" / "java")]
    assert done.stderr == ""


def test_the_switch(make_java: MakeJava):
    old, new = make_java("old", "17.0.2"), make_java("new", "21.0.2")
    done = run(f"ensure_java(True, [{str(new)!r}])" + SHOW, PATH=f"{old}/bin", PYSERINI_TASB_JAVA="0")
    assert done.stdout.split() == ["None", str(old / "bin" / "java")]
    assert done.stderr == ""


def test_without_a_suitable_java_one_line_says_what_to_type(make_java: MakeJava, tmp_path: Path):
    old = make_java("old", "17.0.2")
    program = "ensure_java(system_folders=[])\nensure_java(True, [])" + SHOW
    done = run(program, PATH=f"{old}/bin", CONDA_PREFIX=str(tmp_path / "conda"))
    assert done.stdout.split() == ["None", str(old / "bin" / "java")]
    assert done.stderr.count("\n") == 1
    assert "is Java 17" in done.stderr
    assert "type: conda install -c conda-forge 'openjdk>=21'" in done.stderr
    assert "tasb doctor" in done.stderr


def test_trec_eval_gets_a_java_on_path_though_java_home_is_good(make_java: MakeJava):
    old, good = make_java("old", "17.0.2"), make_java("good", "21.0.2")
    quiet = run("ensure_java(system_folders=[])" + SHOW, PATH=f"{old}/bin", JAVA_HOME=str(good))
    assert quiet.stderr == ""
    done = run("ensure_java(system_folders=[])\nensure_java(True, [])" + SHOW, PATH=f"{old}/bin", JAVA_HOME=str(good))
    assert done.stdout.split() == [str(good), str(good / "bin" / "java")]
    assert done.stderr.startswith(f"pyserini-tasb: trec_eval's Java ({old}, from PATH) is Java 17")


def test_jvm_path_is_left_alone(make_java: MakeJava):
    old, good = make_java("old", "17.0.2"), make_java("good", "21.0.2")
    library = str(old / "lib" / "server" / "libjvm.so")
    done = run("ensure_java()" + SHOW, PATH=f"{good}/bin", JVM_PATH=library)
    assert done.stdout.split() == ["None", str(good / "bin" / "java")]
    assert "type: unset JVM_PATH" in done.stderr


def test_a_running_jvm_is_not_second_guessed(make_java: MakeJava):
    old = make_java("old", "17.0.2")
    done = run("import jnius_config; jnius_config.vm_running = True\nensure_java()" + SHOW, PATH=f"{old}/bin")
    assert done.stderr == ""
    assert done.stdout.split()[0] == "None"


def test_never_raises(make_java: MakeJava):
    done = run("ensure_java(system_folders=None)\nprint('alive')", PATH=f"{make_java('old', '17.0.2')}/bin")
    assert done.stdout == "alive\n"
    assert "looking for a Java failed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("java", candidates(), ids=str)
def test_shortfall_agrees_with_what_this_machines_javas_can_do(java: Java):
    pytest.importorskip("pyserini")
    assert (run(ANSERINI, JAVA_HOME=str(java.home)).returncode == 0) == java.suitable


def test_anserini_runs_though_java_17_is_first(make_java: MakeJava):
    pytest.importorskip("pyserini")
    real = find_java()
    if real is None:
        pytest.skip("no suitable JDK on this machine")
    old = make_java("old", "17.0.2")
    show = "\nprint(autoclass('java.lang.System').getProperty('java.specification.version'))"
    program = f"ensure_java(system_folders=[{str(real.home)!r}])\n{ANSERINI}{show}"
    done = run(program, PATH=f"{old}/bin:{os.environ['PATH']}")
    assert done.stdout.split() == [str(real.version)], done.stderr


def test_importing_it_costs_the_standard_library_only():
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import pyserini_tasb.environment.java
roots = {{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
print(sorted(roots - {{"__main__", "pyserini_tasb"}}), {{"subprocess", "shutil"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] set()\n"
