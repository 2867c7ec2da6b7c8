"""`tasb doctor`: look at this machine; say what to type where it falls short."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pyserini_tasb.environment.checks import (
    Finding,
    check_caches,
    check_faiss,
    check_hub,
    check_java,
    check_onnxruntime,
    check_pyserini,
    check_python,
    check_startup_hook,
    check_torch,
    check_transformers,
    problem,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping


CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "Python": check_python,
    "Pyserini": check_pyserini,
    "transformers": check_transformers,
    "torch": check_torch,
    "faiss": check_faiss,
    "onnxruntime": check_onnxruntime,
    "Java": check_java,
    "start-up hook": check_startup_hook,
    "caches": check_caches,
    "Hugging Face hub": check_hub,
}
MARKS = {"ok": "OK", "warning": "! ", "problem": "!!"}
NAME_WIDTH = 20


def run(arguments: argparse.Namespace) -> int:
    """Print what every check found; return 1 where there is a problem (warnings do not count), else 0."""
    return report(CHECKS, as_json=arguments.json)


def report(checks: Mapping[str, Callable[[], list[Finding]]], *, as_json: bool) -> int:
    """Run checks and print what each found; return 1 where there is a problem, else 0."""
    findings = []
    for finding in examine(checks):
        findings.append(finding)
        if not as_json:
            print(as_text(finding), flush=True)
    problems, warnings = (sum(finding.status == status for finding in findings) for status in ("problem", "warning"))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(f"\n{problems} problem(s), {warnings} warning(s)" if problems or warnings else "\nall well")
    return 1 if problems else 0


def examine(checks: Mapping[str, Callable[[], list[Finding]]]) -> Iterator[Finding]:
    """Run the checks one by one; one that fails becomes a line as well."""
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - a broken machine is what this command is for
            yield problem(name, f"could not be checked: {error!r}", "pip install --upgrade pyserini-tasb")


def as_text(finding: Finding) -> str:
    """One line, and below it what to type."""
    line = f"{MARKS[finding.status]}  {finding.name:{NAME_WIDTH}}  {finding.found}"
    words = ("type:", *["or:  "] * finding.remedy.count("\n")) if finding.remedy else ()
    commands = finding.remedy.splitlines() if finding.remedy else ()
    return "\n".join([line, *(f"      {word} {command}" for word, command in zip(words, commands, strict=True))])
