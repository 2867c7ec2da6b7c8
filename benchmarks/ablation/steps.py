"""What the ablation consists of: each command, what it reads and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.regression.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
STUDY = HERE.parent / "ablation.yaml"
DATA, SPLADE, POOL, COST, RESULT = (str(HERE / f"{name}.py") for name in ("data", "splade", "pool", "cost", "results"))
RESULTS = "results.md"
PICTURES = {  # of each grid: study → the file of its picture in docs/
    "small": {"study": "ablation.png"},
    "mpnet": {"study": "ablation-mpnet.png", "better": "better-than-its-start.png"},
}
TASB = ("-m", "pyserini_tasb")
FORMATS = ("raw", "titled")
PAIRS = tuple(f"mined/{name}/pairs.tsv" for name in FORMATS)
TEXTS = ("--corpus", "data/collection.tsv", "--topics", "data/queries.train.tsv")
NEGATIVES = "16"  # for each positive


def steps(msmarco: Path) -> list[Step]:
    """All of it, from a folder of MS MARCO passages."""
    return [*data(msmarco), *teachers(), *study()]


def data(msmarco: Path) -> list[Step]:
    """Queries and BM25 negatives, each in the format of its positive; a validation set of other queries."""
    return [*pools(msmarco), *(mine(name) for name in FORMATS), formats_check(), *validation()]


def pools(msmarco: Path) -> list[Step]:
    """Queries and passages, raw and titled apart, and BM25's indexes of both."""
    steps = [
        Step(
            name="pools",
            summary="Queries and passages, raw and titled apart",
            arguments=(DATA, "pools", str(msmarco), "data"),
            inputs=(DATA,),
            outputs=("data",),
        )
    ]
    for name in FORMATS:
        index = f"indexes/{name}"
        steps.append(
            Step(
                name=f"index-{name}",
                summary=f"Index the {name} passages",
                arguments=(
                    *("-m", "pyserini.index.lucene", "--collection", "JsonCollection"),
                    *("--input", f"data/{name}/documents", "--generator", "DefaultLuceneDocumentGenerator"),
                    *("--index", index, "--threads", "2", "--storeRaw"),
                ),
                inputs=("data",),
                outputs=(index,),
            )
        )
    return steps


def mine(name: str) -> Step:
    """BM25 negatives of the queries whose positives have a format."""
    here, index, pairs = f"data/{name}", f"indexes/{name}", f"mined/{name}/pairs.tsv"
    return Step(
        name=f"mine-{name}",
        summary=f"BM25 negatives of the {name} queries",
        arguments=(
            *(*TASB, "mine", "--topics", f"{here}/queries.train.tsv", "--qrels", f"{here}/qrels.train.txt"),
            *("--corpus", f"{here}/documents/documents.jsonl", "--index", index),
            *("--hits", "100", "--per-query", NEGATIVES, "--threads", "2", "--output", pairs),
        ),
        inputs=("data", index),
        outputs=(pairs,),
    )


def formats_check(pairs: Sequence[str] = PAIRS, name: str = "formats") -> Step:
    """A check that no model can tell positives from negatives by their format."""
    return Step(
        name=name,
        summary="Can a teacher win by telling titled from raw?",
        arguments=(DATA, "check", ".", *pairs),
        inputs=(DATA, "data", *pairs),
        stdout=f"{name}.txt",
    )


def validation() -> list[Step]:
    """Queries that are held out, with BM25's hits."""
    steps = []
    for name in FORMATS:
        run = f"mined/{name}/bm25.held-out.txt"
        steps.append(
            Step(
                name=f"search-{name}",
                summary=f"Search for the {name} queries that are held out",
                arguments=(
                    *("-m", "pyserini.search.lucene", "--index", f"indexes/{name}"),
                    *("--topics", f"data/{name}/queries.held-out.tsv", "--output", run, "--bm25", "--hits", "50"),
                ),
                inputs=("data", f"indexes/{name}"),
                outputs=(run,),
            )
        )
    return [
        *steps,
        Step(
            name="join",
            summary="Join the runs",
            arguments=(DATA, "join", "mined", "bm25.held-out.txt"),
            inputs=("mined/raw/bm25.held-out.txt", "mined/titled/bm25.held-out.txt"),
            outputs=("mined/bm25.held-out.txt",),
        ),
        Step(
            name="validation",
            summary="The validation set",
            arguments=(
                *(*TASB, "validation-set", "--topics", "data/queries.held-out.tsv"),
                *("--qrels", "data/qrels.held-out.txt", "--run", "mined/bm25.held-out.txt"),
                *("--corpus", "data/collection.tsv", "--queries-sampled", "200", "--hits", "20"),
                *("--output", "validation"),
            ),
            inputs=("data", "mined/bm25.held-out.txt"),
            outputs=("validation",),
        ),
    ]


def teachers() -> list[Step]:
    """BERT_CAT on labels; the mean of its scores and SPLADE's; ColBERT on those."""
    return [
        Step(
            name="labelled",
            summary="A pair store of labels",
            arguments=pair_store("labelled", *PAIRS),
            inputs=("data", *PAIRS),
            outputs=("labelled",),
        ),
        Step(
            name="cat",
            summary="Teach BERT_CAT",
            arguments=(*TASB, "teach", "--kind", "cat", str(HERE / "cat.yaml")),
            inputs=("labelled", "validation", str(HERE / "cat.yaml")),
            outputs=("cat/model",),
        ),
        Step(
            name="score",
            summary="BERT_CAT's scores of the pairs",
            arguments=(
                *(*TASB, "score", "--model", "cat/model", "--pairs", *PAIRS, *TEXTS),
                *("--precision", "bf16", "--max-length", "160", "--output", "scores.cat.tsv"),
            ),
            inputs=("data", "cat/model", *PAIRS),
            outputs=("scores.cat.tsv",),
        ),
        Step(
            name="splade",
            summary="SPLADE-tiny's scores of the pairs",
            arguments=(SPLADE, "pairs", "--pairs", *PAIRS, *TEXTS, "--output", "scores.splade.tsv"),
            inputs=(SPLADE, "data", *PAIRS),
            outputs=("scores.splade.tsv",),
        ),
        Step(
            name="ensemble",
            summary="The mean of both",
            arguments=(*TASB, "score", "--ensemble", "scores.cat.tsv", "scores.splade.tsv", "--output", "scores.tsv"),
            inputs=("scores.cat.tsv", "scores.splade.tsv"),
            outputs=("scores.tsv",),
        ),
        Step(
            name="scored",
            summary="A pair store of scores",
            arguments=pair_store("scored", "scores.tsv"),
            inputs=("data", "scores.tsv"),
            outputs=("scored",),
        ),
        Step(
            name="colbert",
            summary="Teach ColBERT",
            arguments=(*TASB, "teach", "--kind", "colbert", str(HERE / "colbert.yaml")),
            inputs=("scored", "validation", str(HERE / "colbert.yaml")),
            outputs=("colbert/model",),
        ),
    ]


def splade_runs() -> list[Step]:
    """SPLADE-tiny's runs."""
    return [
        Step(
            name=f"splade-{year}",
            summary=f"SPLADE-tiny re-ranks TREC-DL 20{year[2:]}",
            arguments=(
                *(SPLADE, "rerank", "--run", f"{year}-passage.bm25", "--topics", f"{year}-passage"),
                *("--corpus", "data/tested.tsv", "--output", f"splade.{year}.txt"),
            ),
            inputs=(SPLADE, "data"),
            outputs=(f"splade.{year}.txt",),
        )
        for year in ("dl19", "dl20")
    ]


def searched_passages() -> Step:
    """The passages that students search."""
    return Step(
        name="pool",
        summary="The passages that students search: judged ones, and BM25's",
        arguments=(POOL, "data/tested.tsv", "pool.tsv"),
        inputs=(POOL, "data"),
        outputs=("pool.tsv",),
    )


def pair_store(output: str, *pairs: str) -> tuple[str, ...]:
    known = ("--known-positives", "data/qrels.train.txt")
    return (*TASB, "pairs", "--scored-pairs", *pairs, *TEXTS, *known, "--output", output)


def study() -> list[Step]:
    """Clusters for both sizes of a batch, the second teacher's runs, what is searched, then the grid."""
    clusters = [
        Step(
            name=f"clusters.{batch}",
            summary=f"Topic clusters for batches of {batch}",
            arguments=(
                *(*TASB, "cluster", "--topics", "scored", "--encoder", "tasb:minilm", "--batch-size", batch),
                *("--output", f"clusters.{batch}"),
            ),
            inputs=("scored",),
            outputs=(f"clusters.{batch}",),
        )
        for batch in ("32", "96")
    ]
    return [
        *clusters,
        *splade_runs(),
        searched_passages(),
        Step(
            name="study",
            summary="Train and measure the grid",
            arguments=(*TASB, "study", str(STUDY)),
            inputs=(str(STUDY), "pool.tsv", "scored", "colbert/model", "cat/model", "clusters.32", "clusters.96"),
            outputs=("study/table.md", "study/study.png", "study/study.json"),
        ),
        Step(
            name="cost",
            summary="What each supervision costs a sample",
            arguments=(COST, str(STUDY), "--cat", "cat/model"),
            inputs=(COST, str(STUDY), "scored", "colbert/model", "cat/model", "clusters.32", "clusters.96"),
            stdout="cost.md",
        ),
        Step(
            name="results",
            summary="All of it in one page",
            arguments=(RESULT, ".", "--grid", "small"),
            inputs=(RESULT, "study/table.md", "study/study.json", "cost.md", "formats.txt"),
            stdout=RESULTS,
        ),
    ]
