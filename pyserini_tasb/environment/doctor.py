"""The checks of a machine for `tasb doctor`, and their output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.bars import hidden
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
    reinstall_command,
)
from pyserini_tasb.results import Result

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class Findings(Result):
    """The outcome of `doctor`: what each check found, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings of things that fail."""
        return tuple(finding for finding in self.findings if finding.status == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings of things that work, or may be intended."""
        return tuple(finding for finding in self.findings if finding.status == "warning")

    @property
    def summary(self) -> str:
        """A line for each finding, with a command below it, and the number of problems and warnings."""
        problems, warnings = len(self.problems), len(self.warnings)
        end = f"{problems} problem(s), {warnings} warning(s)" if problems or warnings else "everything is fine"
        return "\n".join([*map(as_text, self.findings), "", end])


def examine(checks: Mapping[str, Callable[[], list[Finding]]] | None = None) -> Findings:
    """Run checks one by one, by default those of the machine; one that fails becomes a finding as well."""
    from tqdm.auto import tqdm

    checks = CHECKS if checks is None else checks

    def found() -> Iterator[Finding]:
        for name, check in tqdm(checks.items(), desc="checking", leave=False, disable=hidden(None)):
            try:
                yield from check()
            except Exception as error:  # noqa: BLE001 - a broken machine is what this command is for
                yield problem(name, f"could not be checked: {error!r}", reinstall_command())

    return Findings(tuple(found()))


def as_text(finding: Finding) -> str:
    """One line, and below it what to type."""
    line = f"{MARKS[finding.status]}  {finding.name:{NAME_WIDTH}}  {finding.found}"
    words = ("type:", *["or:  "] * finding.remedy.count("\n")) if finding.remedy else ()
    commands = finding.remedy.splitlines() if finding.remedy else ()
    return "\n".join([line, *(f"      {word} {command}" for word, command in zip(words, commands, strict=True))])
