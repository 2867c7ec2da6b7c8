"""The tests that need only pytest, torch, transformers, numpy and safetensors: those with the marker `bare`.

    python benchmarks/gpu/bare_tests.py

They compute on a GPU where there is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import checkout
from measuring import Options, Results

MARK = "pytest.mark.bare"
COLUMNS = {"passed": "d", "failed": "d", "skipped": "d", "seconds": ".1f"}
FAILURES_SHOWN = 10


def main() -> int:
    """Run them, and count."""
    parser = Options(__file__, __doc__, quick={"only": ["tests/test_on_a_gpu.py"]})
    parser.add_argument("--only", nargs="+", metavar="FILE", help="these files of tests; default: all with the marker")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    if results.has("pytest", "the tests", "test"):
        run(arguments.only or marked_files(), results)
    return results.finish()


def marked_files() -> list[str]:
    """The files of tests with the marker: pytest would import all others to find it, and they need more packages."""
    files = sorted((checkout.ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(checkout.ROOT)) for path in files if MARK in path.read_text(encoding="utf-8")]


def run(files: list[str], results: Results) -> None:
    """Run the tests of these files; add a row."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        # Without pyproject.toml, which has settings of a plugin.
        options = ["-m", "bare", "-q", "-c", os.devnull, "--rootdir", ".", f"--junitxml={report}"]
        options += ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
        command = [sys.executable, "-m", "pytest", *options, *files]
        status = subprocess.run(command, cwd=checkout.ROOT, check=False).returncode
        if not report.exists():
            raise SystemExit(f"pytest wrote no report, and ended with status {status}")
        (suite,) = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it just now
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    results.rows[f"{len(files)} file{'s' * (len(files) > 1)} of tests"] = {
        "passed": counts["tests"] - failed - counts["skipped"],
        "failed": failed,
        "skipped": counts["skipped"],
        "seconds": float(suite.get("time", 0)),
    }
    broken = [case for case in suite.iter("testcase") if {"failure", "error"} & {inner.tag for inner in case}]
    for case in broken[:FAILURES_SHOWN]:
        results.note(f"failed: {case.get('classname')}.{case.get('name')}")
    results.floor("tests that fail", failed, most=0)
    results.floor("tests that pass", counts["tests"] - failed - counts["skipped"], least=1)


if __name__ == "__main__":
    sys.exit(main())
