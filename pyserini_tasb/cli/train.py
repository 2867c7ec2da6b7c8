"""Arguments of the verbs that make training data and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli.retrieve import (
    add_allow_other_encoder_option,
    add_allow_reversed_option,
    add_backend_option,
    add_remove_query_option,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


# The paper's number of training queries set aside for early stopping.
VALIDATION_QUERIES = 3_200
SEED = 208_973_249


def add_training_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    data = verbs.add_parser("data", help="make training data", description="Make training data.")
    kinds = data.add_subparsers(dest="kind", metavar="KIND", required=True)
    _add_pairs(verb(kinds, "pairs", "pyserini_tasb.data.pairs:run", "a pair store of what you have"))
    _add_mine(verb(kinds, "mine", "pyserini_tasb.data.mining:run", "hard negatives, found with Pyserini"))
    _add_pseudo_queries(
        verb(
            kinds,
            "pseudo-queries",
            "pyserini_tasb.data.pseudo_queries:run",
            "queries for a collection that has none",
        )
    )
    _add_validation(verb(kinds, "validation", "pyserini_tasb.data.validation_building:run", "the early-stopping set"))
    _add_msmarco(verb(kinds, "msmarco", "pyserini_tasb.data.msmarco:run", "MS MARCO, with published teacher scores"))
    _add_cluster(verb(verbs, "cluster", "pyserini_tasb.data.clusters:run", "cluster queries into topics"))
    _add_config(verb(verbs, "train", "pyserini_tasb.training.train:run", "train a TAS-B model (docs/train.md)"))
    teach = verbs.add_parser("teach", help="train a teacher", description="Train a teacher.")
    teachers = teach.add_subparsers(dest="teacher", metavar="TEACHER", required=True)
    for name, summary in (("cat", "a cross-encoder, BERT_CAT"), ("colbert", "a late-interaction model, ColBERT")):
        _add_config(verb(teachers, name, "pyserini_tasb.training.train:run_teach", summary))
    study = verb(verbs, "study", "pyserini_tasb.training.study:run", "train a grid and compare (docs/study.md)")
    _add_recipe(study, "what to train, measure and compare")
    study.add_argument("--report-only", action="store_true", help="of what is measured so far; train nothing")


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
    parser.add_argument("--collection", metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument("--queries", metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--known-positives", metavar="NAME|PATH", help="qrels: never negatives of their query")
    parser.add_argument("--relevant-grade", type=int, default=1, metavar="N", help="of qrels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of --negatives-per-query (default: %(default)s)")
    parser.add_argument("--skip-bad", action="store_true", help="count faulty lines instead of stopping")
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the store at --output")


def _add_mine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH")
    parser.add_argument("--collection", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--index", metavar="DIR", help="a Lucene index, for BM25")
    source.add_argument("--dense-index", metavar="DIR", help="a Faiss index, with --encoder")
    source.add_argument("--run", dest="run_file", metavar="NAME|PATH", help="an existing run")
    parser.add_argument("--encoder", metavar="NAME", help="of --dense-index")
    add_allow_other_encoder_option(parser)
    parser.add_argument("--output", required=True, metavar="TSV", help="pairs, for `tasb data pairs --scored-pairs`")
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
    parser.add_argument("--collection", required=True, metavar="PATH", help="TSV or JSONL")
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
    parser.add_argument("--collection", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
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


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queries", required=True, metavar="TSV|STORE", help="ids and texts, or a pair store")
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


def _add_config(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser, "what to train on, from, and how")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")


def _add_keep_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-query",
        action="store_true",
        help="a negative may be the query itself: a passage with its text, or with its id and 90 %% of its words",
    )


def _add_recipe(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help=what)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the file's")
