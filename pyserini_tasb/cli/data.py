"""The verbs that make training data: pairs, mine, pseudo-queries, validation-set, msmarco, score, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import (
    add_allow_other_encoder_option,
    add_allow_reversed_option,
    add_backend_option,
    add_remove_query_option,
)
from pyserini_tasb.cli.retrieve import add_model_options
from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse

# The paper's number of training queries set aside for early stopping.
VALIDATION_QUERIES = 3_200
SEED = 208_973_249


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help="the pair store")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--scored-pairs", nargs="+", metavar="FILE", help="[pos_score neg_score | margin] qid pos_pid neg_pid"
    )
    source.add_argument("--triples", metavar="FILE", help="[pos_score neg_score] query positive negative, as texts")
    source.add_argument("--qrels", metavar="NAME|PATH", help="positives; negatives come from --negatives")
    parser.add_argument("--negatives", metavar="NAME|PATH", help="with --qrels: a run")
    parser.add_argument("--negatives-per-query", type=int, metavar="N", help="with --negatives: sample N")
    parser.add_argument("--corpus", metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument("--topics", metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--known-positives", metavar="NAME|PATH", help="qrels: never negatives of their query")
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help="of qrels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of --negatives-per-query (default: %(default)s)")
    parser.add_argument("--skip-bad", action="store_true", help="count faulty lines instead of stopping")
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the store at --output")


def _add_mine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH")
    parser.add_argument("--corpus", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--index", metavar="DIR", help="a Lucene index, for BM25")
    source.add_argument("--dense-index", metavar="DIR", help="a Faiss index, with --encoder")
    source.add_argument("--run", dest="run_file", metavar="NAME|PATH", help="an existing run")
    parser.add_argument("--encoder", metavar="NAME", help="of --dense-index")
    add_allow_other_encoder_option(parser)
    parser.add_argument("--output", required=True, metavar="TSV", help="pairs, for `tasb pairs --scored-pairs`")
    parser.add_argument("--depth", type=int, default=200, metavar="N", help="hits to look at (default: %(default)s)")
    parser.add_argument("--skip-top", type=int, default=0, metavar="N", help="leave out the first N hits")
    parser.add_argument("--per-query", type=int, metavar="N", help="negatives to keep (default: all)")
    parser.add_argument(
        "--sampling", choices=["top", "random", "stratified"], default="stratified", help="(default: %(default)s)"
    )
    parser.add_argument("--score-with", metavar="NAME", help="an encoder whose scores the pairs get")
    parser.add_argument(
        "--margin-cutoff", type=float, metavar="M", help="with --score-with: drop pairs whose margin is below M"
    )
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    parser.add_argument(
        "--min-relevance", type=int, default=1, metavar="N", help="of a positive (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of BM25 (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="of encoders (default: %(default)s)")


def _add_pseudo_queries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="PATH", help="TSV or JSONL")
    parser.add_argument("--output", required=True, metavar="DIR", help="gets queries.tsv and qrels.txt")
    parser.add_argument(
        "--from", dest="source", choices=["title", "sentence", "auto"], default="auto", help="(default: %(default)s)"
    )
    parser.add_argument("--min-words", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--max-words", type=int, default=25, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="sample N documents (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of --limit (default: %(default)s)")
    parser.add_argument("--write-collection", action="store_true", help="a collection without the queries in it, too")


def _add_validation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH")
    parser.add_argument("--run", required=True, dest="baseline_run", metavar="NAME|PATH", help="a baseline's")
    parser.add_argument("--corpus", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--queries-sampled", type=int, default=VALIDATION_QUERIES, metavar="N", help="at most (default: %(default)s)"
    )
    parser.add_argument("--sampling", choices=["uniform", "stratified"], default="uniform", help="of queries")
    parser.add_argument("--stratify-by", default="RR@10", metavar="MEASURE", help="of the run (default: %(default)s)")
    parser.add_argument("--strata", type=int, default=5, metavar="N", help="of equal width (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=100, metavar="N", help="of the run (default: %(default)s)")
    add_remove_query_option(parser)
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the set at --output")


def _add_msmarco(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--source", metavar="DIR", help="files that are here already")
    parser.add_argument("--base-url", metavar="URL", help="a mirror")
    parser.add_argument("--skip-download", action="store_true", help="use --source alone")


def _add_score(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME|PATH", help="an encoder's name, or a BERT_CAT, ColBERT, cross-encoder")
    what.add_argument("--ensemble", nargs="+", metavar="TSV", help="files of scores, to be averaged")
    parser.add_argument(
        "--pairs", nargs="+", metavar="TSV", help="[pos_score neg_score | margin] qid pos_pid neg_pid; ids count"
    )
    parser.add_argument("--corpus", metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument("--topics", metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="TSV", help="pos_score neg_score qid pos_pid neg_pid")
    add_allow_reversed_option(parser)
    add_model_options(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="TSV|STORE", help="ids and texts, or a pair store")
    parser.add_argument("--encoder", required=True, metavar="NAME")
    parser.add_argument("--output", required=True, metavar="DIR", help="gets clusters.tsv and statistics.json")
    parser.add_argument("--clusters", type=int, metavar="K", help="default: 3 batches a cluster, at most 2,000")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="of training (default: %(default)s)")
    parser.add_argument(
        "--metric", choices=["spherical", "euclidean"], default="spherical", help="(default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1234, help="(default: %(default)s)")
    parser.add_argument("--points-per-centroid", type=int, default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="of the encoder (default: %(default)s)")
    add_backend_option(parser)
    parser.add_argument("--vectors", metavar="NPY", help="read the queries' vectors from there, or keep them there")
    parser.add_argument("--labels", metavar="TSV", help="topics by query id, for purity")
    parser.add_argument("--picture", action="store_true", help="draw clusters.png")


def _add_keep_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-query",
        action="store_true",
        help="a negative may be the query itself: a passage with its text, or with its id and 90 %% of its words",
    )


VERBS = (
    Verb(
        "pairs",
        "Build a store of training pairs from what you have.",
        example="tasb pairs --scored-pairs scored.tsv --corpus documents.tsv --topics queries.tsv --output pairs",
        add_options=_add_pairs,
        old="pyserini_tasb.data.pairs:run",
    ),
    Verb(
        "mine",
        "Find hard negatives with BM25, a dense index or an existing run.",
        example="tasb mine --topics queries.tsv --qrels qrels.txt --corpus corpus.tsv --index bm25 --output mined.tsv",
        add_options=_add_mine,
        old="pyserini_tasb.data.mining:run",
    ),
    Verb(
        "pseudo-queries",
        "Make queries for a corpus that has none.",
        example="tasb pseudo-queries --corpus corpus.tsv --output queries",
        add_options=_add_pseudo_queries,
        old="pyserini_tasb.data.pseudo_queries:run",
    ),
    Verb(
        "validation-set",
        "Build the set of queries that early stopping looks at.",
        example="tasb validation-set --topics dev.tsv --qrels dev.qrels --run bm25.txt --corpus c.tsv --output dev",
        add_options=_add_validation,
        old="pyserini_tasb.data.validation_building:run",
    ),
    Verb(
        "msmarco",
        "Get MS MARCO training data with the published teacher scores.",
        example="tasb msmarco --output msmarco",
        add_options=_add_msmarco,
        old="pyserini_tasb.data.msmarco:run",
    ),
    Verb(
        "score",
        "Score training pairs with a teacher, or average the scores of several.",
        example="tasb score --model teacher --pairs mined.tsv --corpus c.tsv --topics q.tsv --output scored.tsv",
        add_options=_add_score,
        old="pyserini_tasb.data.scoring:run",
    ),
    Verb(
        "cluster",
        "Cluster the training queries into topics.",
        example="tasb cluster --topics pairs --encoder tasb:minilm --output clusters",
        add_options=_add_cluster,
        old="pyserini_tasb.data.clusters:run",
    ),
)
