"""The verbs that make training data: pairs, mine, pseudo-queries, validation-set, msmarco, score, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli.options import (
    CORPUS,
    DEVICE,
    QRELS,
    TOPICS,
    add_allow_other_encoder_option,
    add_allow_reversed_option,
    add_backend_option,
    add_fields_options,
    add_overwrite_option,
    add_remove_query_option,
    add_threads_option,
)
from pyserini_tasb.cli.retrieve import add_model_options
from pyserini_tasb.cli.verbs import Verb, say

if TYPE_CHECKING:
    import argparse

# The paper's number of training queries set aside for early stopping.
VALIDATION_QUERIES = 3_200
SEED = 208_973_249

MIN_RELEVANCE = "The lowest grade of a positive in the judgments (default: %(default)s)."


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help="The folder of the store; it is new or empty.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--scored-pairs",
        nargs="+",
        metavar="FILE",
        help="Files with a pair a line: [pos_score neg_score | margin] qid pos_pid neg_pid, between tabs.",
    )
    source.add_argument(
        "--triples",
        metavar="FILE",
        help="A file with a pair of texts a line: [pos_score neg_score] query positive negative, between tabs.",
    )
    source.add_argument(
        "--qrels", metavar="NAME|PATH", help="Judgments that say what is positive. The negatives come from --negatives."
    )
    parser.add_argument(
        "--negatives", metavar="NAME|PATH", help="With --qrels: a run. What is in it and not positive is negative."
    )
    parser.add_argument(
        "--negatives-per-query",
        type=int,
        metavar="N",
        help="With --negatives: draw N of a query's negatives (default: take all).",
    )
    parser.add_argument("--corpus", metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--topics", metavar="NAME|PATH", help=TOPICS)
    parser.add_argument(
        "--known-positives",
        metavar="NAME|PATH",
        help="Never take as a negative what these judgments call relevant for its query.",
    )
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=0, help="The seed of --negatives-per-query (default: %(default)s).")
    parser.add_argument("--skip-bad", action="store_true", help="Leave out and count faulty lines instead of stopping.")
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    add_overwrite_option(parser)


def _add_mine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help=QRELS)
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--index", metavar="DIR", help="A Lucene index, a folder or a name of Pyserini's, to search with BM25."
    )
    source.add_argument(
        "--dense-index",
        metavar="DIR",
        help="A Faiss index, a folder or a name of Pyserini's, to search with --encoder.",
    )
    source.add_argument("--run", metavar="NAME|PATH", help="A run whose hits are taken, instead of a search.")
    parser.add_argument(
        "--encoder", metavar="NAME", help="The encoder of the queries for --dense-index: the one that it was made with."
    )
    add_allow_other_encoder_option(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="TSV",
        help="A new file of pairs, for `tasb pairs --scored-pairs`; - is standard output.",
    )
    parser.add_argument(
        "--hits", type=int, default=200, metavar="N", help="Look at N hits of each query (default: %(default)s)."
    )
    parser.add_argument(
        "--skip-top", type=int, default=0, metavar="N", help="Leave out the first N hits (default: %(default)s)."
    )
    parser.add_argument("--per-query", type=int, metavar="N", help="Keep N negatives of each query (default: all).")
    parser.add_argument(
        "--sampling",
        choices=["top", "random", "stratified"],
        default="stratified",
        help="Keep the first hits, random ones, or some of each range of scores (default: %(default)s).",
    )
    parser.add_argument("--score-with", metavar="NAME", help="A model that scores the pairs.")
    parser.add_argument(
        "--vectors",
        metavar="DIR",
        help="The corpus's vectors that `tasb encode` made with the encoder of --score-with, so that passages are not "
        "encoded again.",
    )
    parser.add_argument(
        "--margin-cutoff", type=float, metavar="M", help="With --score-with: drop pairs whose margin is not above M."
    )
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=0, help="The seed of --per-query (default: %(default)s).")
    add_threads_option(parser)
    parser.add_argument("--device", default="cpu", help=DEVICE)
    add_overwrite_option(parser)


def _add_pseudo_queries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="A new folder for queries.tsv and qrels.txt.")
    parser.add_argument(
        "--source",
        choices=["title", "sentence", "auto"],
        default="auto",
        help="Make queries of the titles, of the first sentences, or of the titles where they are long enough, "
        "and else of the sentences (default: %(default)s).",
    )
    parser.add_argument(
        "--min-words", type=int, default=3, metavar="N", help="Leave out shorter queries (default: %(default)s)."
    )
    parser.add_argument(
        "--max-words", type=int, default=25, metavar="N", help="Cut longer queries (default: %(default)s)."
    )
    parser.add_argument("--limit", type=int, metavar="N", help="Keep N queries, drawn at random (default: all).")
    parser.add_argument("--seed", type=int, default=0, help="The seed of --limit (default: %(default)s).")
    parser.add_argument(
        "--write-collection", action="store_true", help="Write the corpus too, without the words of the queries."
    )
    add_overwrite_option(parser)


def _add_validation_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help=QRELS)
    parser.add_argument(
        "--run", required=True, metavar="NAME|PATH", help="The run of a baseline, which gives candidates."
    )
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="The folder of the set; it is new or empty.")
    parser.add_argument(
        "--queries-sampled",
        type=int,
        default=VALIDATION_QUERIES,
        metavar="N",
        help="Take at most N queries (default: %(default)s).",
    )
    parser.add_argument(
        "--sampling",
        choices=["uniform", "stratified"],
        default="uniform",
        help="Sample all queries alike, or as many of each range of --stratify-by (default: %(default)s).",
    )
    parser.add_argument(
        "--stratify-by",
        default="RR@10",
        metavar="MEASURE",
        help="The measure of the run whose values make the ranges (default: %(default)s).",
    )
    parser.add_argument(
        "--strata",
        type=int,
        default=5,
        metavar="N",
        help="Divide the values into N ranges of equal width (default: %(default)s).",
    )
    parser.add_argument(
        "--hits",
        type=int,
        default=100,
        metavar="N",
        help="Take N candidates of the run for each query (default: %(default)s).",
    )
    add_remove_query_option(parser)
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=SEED, help="The seed of the sample (default: %(default)s).")
    add_overwrite_option(parser)


def _add_msmarco(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help="The folder that everything goes to.")
    parser.add_argument("--source", metavar="DIR", help="A folder with files of MS MARCO that you have already.")
    parser.add_argument("--base-url", metavar="URL", help="Download from the mirror at this address.")
    parser.add_argument(
        "--skip-download", action="store_true", help="Download nothing, and take files from --source only."
    )


def _add_score(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="The teacher: an encoder's name, or the folder or hub id of a BERT_CAT, a ColBERT, a monoT5 or another "
        "cross-encoder.",
    )
    what.add_argument("--ensemble", nargs="+", metavar="TSV", help="Average the scores in these files.")
    parser.add_argument(
        "--pairs",
        nargs="+",
        metavar="TSV",
        help="Files with a pair a line: [pos_score neg_score | margin] qid pos_pid neg_pid. Only the ids count.",
    )
    parser.add_argument("--corpus", metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--topics", metavar="NAME|PATH", help=TOPICS)
    parser.add_argument(
        "--output",
        required=True,
        metavar="TSV",
        help="A new file of scored pairs, with a pair a line: pos_score neg_score qid pos_pid neg_pid; - is standard "
        "output.",
    )
    add_allow_reversed_option(parser)
    add_model_options(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topics",
        required=True,
        metavar="NAME|PATH",
        help=f"{TOPICS} Or the folder of a pair store, whose queries with pairs are taken.",
    )
    parser.add_argument(
        "--encoder", required=True, metavar="NAME", help="The encoder of the queries, such as tasb or tasb:NAME."
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="A folder for clusters.tsv and statistics.json.")
    parser.add_argument(
        "--clusters",
        type=int,
        metavar="K",
        help="Make K clusters (default: so many that one holds 3 batches, at most 2,000).",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="The batch size of the training, which decides the default of --clusters (default: %(default)s).",
    )
    parser.add_argument(
        "--metric",
        choices=["spherical", "euclidean"],
        default="spherical",
        help="Compare vectors by inner product, as in the released code, or by distance, as in the paper "
        "(default: %(default)s).",
    )
    parser.add_argument(
        "--iterations", type=int, default=10, metavar="N", help="Stop after N iterations (default: %(default)s)."
    )
    parser.add_argument(
        "--seed", type=int, default=1234, help="The seed of the first centroids (default: %(default)s)."
    )
    parser.add_argument(
        "--points-per-centroid",
        type=int,
        default=256,
        metavar="N",
        help="Compute centroids from at most N queries a cluster (default: %(default)s).",
    )
    parser.add_argument("--device", default="cpu", help=DEVICE)
    add_backend_option(parser)
    parser.add_argument(
        "--vectors",
        metavar="NPY",
        help="Read the queries' vectors from this file, or write them to it if there is none.",
    )
    parser.add_argument(
        "--labels", metavar="TSV", help="Compare the clusters with these labels: a file with a qid and a label a line."
    )
    parser.add_argument("--picture", action="store_true", help="Draw sample clusters into clusters.png.")
    add_overwrite_option(parser)


def _add_keep_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-query",
        action="store_true",
        help="Keep a negative that is the query itself: a passage with its text, or with its id and 90 %% of its "
        "words.",
    )


def _print_in_options(result: Any, options: argparse.Namespace) -> int:
    """Print a summary that mentions arguments."""
    say(result.worded(options.called.option))
    return 0


VERBS = (
    Verb(
        "pairs",
        "Build a store of training pairs from what you have.",
        example="tasb pairs --scored-pairs scored.tsv --corpus documents.tsv --topics queries.tsv --output pairs",
        add_options=_add_pairs,
    ),
    Verb(
        "mine",
        "Find hard negatives with BM25, a dense index or an existing run.",
        example="tasb mine --topics queries.tsv --qrels qrels.txt --corpus corpus.tsv --index bm25 --output mined.tsv",
        add_options=_add_mine,
        report=_print_in_options,
    ),
    Verb(
        "pseudo-queries",
        "Make queries for a corpus that has none.",
        example="tasb pseudo-queries --corpus corpus.tsv --output queries",
        add_options=_add_pseudo_queries,
        report=_print_in_options,
    ),
    Verb(
        "validation-set",
        "Build the set of queries that early stopping looks at.",
        example="tasb validation-set --topics dev.tsv --qrels dev.qrels --run bm25.txt --corpus c.tsv --output dev",
        add_options=_add_validation_set,
    ),
    Verb(
        "msmarco",
        "Get MS MARCO training data with the published teacher scores.",
        example="tasb msmarco --output msmarco",
        add_options=_add_msmarco,
    ),
    Verb(
        "score",
        "Score training pairs with a teacher, or average the scores of several.",
        example="tasb score --model teacher --pairs mined.tsv --corpus c.tsv --topics q.tsv --output scored.tsv",
        add_options=_add_score,
    ),
    Verb(
        "cluster",
        "Cluster the training queries into topics.",
        example="tasb cluster --topics pairs --encoder tasb:minilm --output clusters",
        add_options=_add_cluster,
    ),
)
