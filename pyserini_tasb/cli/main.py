"""The `tasb` command: one argparse tree. A verb's own room is imported only when that verb runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__
from pyserini_tasb.cli.check import add_regression_verbs, add_report_verb
from pyserini_tasb.cli.evaluate import add_evaluation_verbs, add_fusion_verbs
from pyserini_tasb.cli.retrieve import (
    add_corpus_verbs,
    add_encoding_verbs,
    add_expansion_verb,
    add_hybrid_verb,
    add_index_verbs,
    add_rerank_depths_verb,
    add_scoring_verbs,
)
from pyserini_tasb.cli.train import add_training_verbs
from pyserini_tasb.environment.processor import request_reproducibility
from pyserini_tasb.errors import TasbError
from pyserini_tasb.plugin.startup import register

if TYPE_CHECKING:
    from collections.abc import Sequence


USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `tasb` verb; return the process's exit status."""
    arguments = build_parser().parse_args(argv)
    module, _, function = arguments.run.partition(":")
    if getattr(arguments, "backend", None):
        os.environ["PYSERINI_TASB_BACKEND"] = arguments.backend  # which worker processes see as well
    request_reproducibility()  # before any verb imports torch; worker processes inherit it
    if getattr(arguments, "allow_other_encoder", False):
        from pyserini_tasb.encoding.index_manifest import ALLOW_OTHER  # imports numpy

        os.environ[ALLOW_OTHER] = "1"  # which Pyserini's adapted searchers see as well
    register()  # for a checkout that is not installed: no start-up hook there
    try:
        return int(getattr(importlib.import_module(module), function)(arguments))
    except TasbError as error:
        print(f"tasb {arguments.verb}: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:  # `tasb … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at exit
        return 141
    except KeyboardInterrupt:
        print(f"\ntasb {arguments.verb}: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The whole tree of verbs, without importing what any of them needs."""
    parser = argparse.ArgumentParser(prog="tasb", description="TAS-B dense retrieval for Pyserini.")
    parser.add_argument("--version", action="version", version=f"pyserini-tasb {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_encoders(verbs)
    add_corpus_verbs(verbs, _verb)
    add_encoding_verbs(verbs, _verb)
    add_training_verbs(verbs, _verb)
    add_scoring_verbs(verbs, _verb)
    add_rerank_depths_verb(verbs, _verb)
    add_index_verbs(verbs, _verb)
    add_evaluation_verbs(verbs, _verb)
    add_fusion_verbs(verbs, _verb)
    add_hybrid_verb(verbs, _verb)
    add_expansion_verb(verbs, _verb)
    add_regression_verbs(verbs, _verb)
    add_report_verb(verbs, _verb)
    _add_doctor(verbs)
    _add_demo(verbs)
    return parser


def _verb(verbs: Any, name: str, run: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser


def _add_encoders(verbs: Any) -> None:
    parser = _verb(
        verbs, "encoders", "pyserini_tasb.encoding.loading:run", "list encoder cards; are their weights here?"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_doctor(verbs: Any) -> None:
    parser = _verb(
        verbs, "doctor", "pyserini_tasb.indexes.check:run", "check this machine, or indexes; say what to type"
    )
    parser.add_argument("folders", nargs="*", metavar="INDEX", help="indexes and vector folders to check instead")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def _add_demo(verbs: Any) -> None:
    parser = _verb(verbs, "demo", "pyserini_tasb.demo:run", "BM25, dense and hybrid search of CACM")
    parser.add_argument("--output", default="demo-out", metavar="DIR", help="where all goes (default: %(default)s)")
