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
    add_search_options,
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
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="The folder for the pairs. It must be new or empty."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--scored-pairs",
        nargs="+",
        metavar="FILE",
        help="Files with a pair of ids per line: [pos_score neg_score | margin] qid pos_pid neg_pid, separated by "
        "tabs.",
    )
    source.add_argument(
        "--triples",
        metavar="FILE",
        help="A file with a pair of texts per line: [pos_score neg_score] query positive negative, separated by tabs.",
    )
    source.add_argument(
        "--qrels",
        metavar="NAME|PATH",
        help="The judgments, which give the positives. The negatives come from --negatives.",
    )
    parser.add_argument(
        "--negatives",
        metavar="NAME|PATH",
        help="The run whose documents become the negatives, except the positives (with --qrels).",
    )
    parser.add_argument(
        "--negatives-per-query",
        type=int,
        metavar="N",
        help="Draw N negatives for each query (with --negatives; default: all).",
    )
    parser.add_argument("--corpus", metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--topics", metavar="NAME|PATH", help=TOPICS)
    parser.add_argument(
        "--known-positives",
        metavar="NAME|PATH",
        help="More judgments. A passage that they call relevant for a query never becomes its negative.",
    )
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=0, help="The seed of --negatives-per-query (default: %(default)s).")
    parser.add_argument("--skip-bad", action="store_true", help="Skip and count faulty lines instead of stopping.")
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
        "--index",
        metavar="DIR",
        help="Search this Lucene index with BM25: a folder, or the name of a prebuilt index of Pyserini.",
    )
    source.add_argument(
        "--dense-index",
        metavar="DIR",
        help="Search these vectors with --encoder: a Faiss index, a vector folder, or the name of a prebuilt index of "
        "Pyserini.",
    )
    source.add_argument("--run", metavar="NAME|PATH", help="Use the hits of this run instead of a search.")
    parser.add_argument(
        "--encoder", metavar="NAME", help="The query encoder for --dense-index: the encoder that made the index."
    )
    add_allow_other_encoder_option(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="TSV",
        help="A new file of pairs, for `tasb pairs --scored-pairs`; - is standard output.",
    )
    parser.add_argument(
        "--hits", type=int, default=200, metavar="N", help="Use the N best hits of each query (default: %(default)s)."
    )
    parser.add_argument(
        "--skip-top", type=int, default=0, metavar="N", help="Skip the N best hits (default: %(default)s)."
    )
    parser.add_argument("--per-query", type=int, metavar="N", help="Keep N negatives for each query (default: all).")
    parser.add_argument(
        "--sampling",
        choices=["top", "random", "stratified"],
        default="stratified",
        help="The choice of negatives: the best hits, random hits, or some from each range of scores (default: "
        "%(default)s).",
    )
    parser.add_argument(
        "--score-with",
        metavar="NAME",
        help="The teacher that scores the pairs: an encoder's name, or a model's folder or hub id (default: no "
        "scores).",
    )
    parser.add_argument(
        "--vectors",
        metavar="DIR",
        help="The folder of the corpus's vectors, from `tasb encode` with the encoder of --score-with. Passages are "
        "then not encoded again.",
    )
    parser.add_argument(
        "--margin-cutoff",
        type=float,
        metavar="M",
        help="Drop pairs whose margin, the positive's score minus the negative's, is M or less (with --score-with).",
    )
    _add_keep_query(parser)
    add_allow_reversed_option(parser)
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=0, help="The seed of --per-query (default: %(default)s).")
    add_threads_option(parser)
    add_search_options(parser)
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
        help="The text that becomes a query: the title; as many of the first sentences as have --min-words words "
        "together; or (auto) the title if it has --min-words words, and sentences if not (default: %(default)s).",
    )
    parser.add_argument(
        "--predictions",
        nargs="+",
        metavar="PATH",
        help="Take predicted queries instead: the folder of `tasb expand --model MODEL --queries-only`, or files of "
        "JSONL with a line for each document.",
    )
    parser.add_argument(
        "--min-words",
        type=int,
        default=3,
        metavar="N",
        help="The fewest words of a query. Shorter queries are left out (default: %(default)s).",
    )
    parser.add_argument(
        "--max-words",
        type=int,
        default=25,
        metavar="N",
        help="The most words of a query. Longer queries are cut (default: %(default)s).",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="Keep N queries, chosen at random (default: all).")
    parser.add_argument(
        "--exclude",
        metavar="NAME|PATH",
        help="Make none of these queries, such as those that judge the trained model: topics, as other verbs take "
        "them.",
    )
    parser.add_argument("--seed", type=int, default=0, help="The seed of --limit (default: %(default)s).")
    parser.add_argument(
        "--write-collection",
        action="store_true",
        help="Also write the corpus to DIR/collection, without the words that became queries.",
    )
    add_overwrite_option(parser)


def _add_validation_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help=QRELS)
    parser.add_argument(
        "--run",
        required=True,
        metavar="NAME|PATH",
        help="The run of a first stage, such as BM25. Its hits are the candidates.",
    )
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="The folder for the validation set. It must be new or empty."
    )
    parser.add_argument(
        "--queries-sampled",
        type=int,
        default=VALIDATION_QUERIES,
        metavar="N",
        help="Sample at most N queries (default: %(default)s).",
    )
    parser.add_argument(
        "--sampling",
        choices=["uniform", "stratified"],
        default="uniform",
        help="Sample uniformly, or equally many queries from each range of --stratify-by (default: %(default)s).",
    )
    parser.add_argument(
        "--stratify-by",
        default="RR@10",
        metavar="MEASURE",
        help="The measure that divides the queries into ranges, by its values on --run (default: %(default)s).",
    )
    parser.add_argument(
        "--strata",
        type=int,
        default=5,
        metavar="N",
        help="The number of ranges of --stratify-by, all of equal width (default: %(default)s).",
    )
    parser.add_argument(
        "--hits",
        type=int,
        default=100,
        metavar="N",
        help="Use the N best candidates of the run for each query (default: %(default)s).",
    )
    add_remove_query_option(parser)
    parser.add_argument("--min-relevance", type=int, default=1, metavar="N", help=MIN_RELEVANCE)
    parser.add_argument("--seed", type=int, default=SEED, help="The seed of the sample (default: %(default)s).")
    add_overwrite_option(parser)


def _add_msmarco(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="The folder for everything that the command writes."
    )
    parser.add_argument("--source", metavar="DIR", help="A folder with MS MARCO files that you already have.")
    parser.add_argument("--base-url", metavar="URL", help="Download from the mirror at this address.")
    parser.add_argument(
        "--skip-download", action="store_true", help="Download nothing, and use only files from --source."
    )


def _add_score(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="The teacher: an encoder's name, or the folder or hub id of a BERT_CAT, a ColBERT, a monoT5 or another "
        "cross-encoder.",
    )
    what.add_argument(
        "--ensemble",
        nargs="+",
        metavar="TSV",
        help="Files of scored pairs, one for each teacher. Their scores are averaged.",
    )
    parser.add_argument(
        "--pairs",
        nargs="+",
        metavar="TSV",
        help="Files with a pair per line: [pos_score neg_score | margin] qid pos_pid neg_pid. Only the ids are used.",
    )
    parser.add_argument("--corpus", metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument("--topics", metavar="NAME|PATH", help=TOPICS)
    parser.add_argument(
        "--output",
        required=True,
        metavar="TSV",
        help="A new file for the scored pairs, with a pair per line: pos_score neg_score qid pos_pid neg_pid; - is "
        "standard output.",
    )
    add_allow_reversed_option(parser)
    add_model_options(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topics",
        required=True,
        metavar="NAME|PATH",
        help=f"{TOPICS} Or a folder that `tasb pairs` wrote: then its queries are clustered.",
    )
    parser.add_argument(
        "--encoder", required=True, metavar="NAME", help="The query encoder, such as tasb or tasb:NAME."
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="A folder for clusters.tsv and statistics.json.")
    parser.add_argument(
        "--clusters",
        type=int,
        metavar="K",
        help="The number of clusters (default: 1 for every 3 batches of queries, at most 2,000).",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="The batch size of the training. The default of --clusters depends on it (default: %(default)s).",
    )
    parser.add_argument(
        "--metric",
        choices=["spherical", "euclidean"],
        default="spherical",
        help="The similarity in k-means: spherical is the inner product, as in the released code; euclidean is the "
        "distance, as in the paper (default: %(default)s).",
    )
    parser.add_argument(
        "--iterations", type=int, default=10, metavar="N", help="Stop after N iterations (default: %(default)s)."
    )
    parser.add_argument(
        "--seed", type=int, default=1234, help="The random seed of the first centroids (default: %(default)s)."
    )
    parser.add_argument(
        "--points-per-centroid",
        type=int,
        default=256,
        metavar="N",
        help="Compute the centroids from at most N queries per cluster (default: %(default)s).",
    )
    parser.add_argument("--device", default="cpu", help=DEVICE)
    add_backend_option(parser)
    parser.add_argument(
        "--vectors",
        metavar="NPY",
        help="The file of the queries' vectors. It is read if it exists, and written if not.",
    )
    parser.add_argument(
        "--labels",
        metavar="TSV",
        help="Compare the clusters with these labels: a file with a qid and a label per line.",
    )
    parser.add_argument("--picture", action="store_true", help="Draw a sample of the clusters into clusters.png.")
    add_overwrite_option(parser)


def _add_keep_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-query",
        action="store_true",
        help="Keep negatives that are the query itself: a passage with its text, or with its id and 90 %% of its "
        "words.",
    )


def _print_in_options(result: Any, options: argparse.Namespace) -> int:
    """Print a summary that mentions arguments."""
    say(result.worded(options.called.option))
    return 0


VERBS = (
    Verb(
        "pairs",
        "Build training pairs from judgments, triples or scored pairs.",
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
        "Make training queries from the titles and sentences of a corpus.",
        example="tasb pseudo-queries --corpus corpus.tsv --output queries",
        add_options=_add_pseudo_queries,
        report=_print_in_options,
    ),
    Verb(
        "validation-set",
        "Build a validation set, which decides when training stops.",
        example="tasb validation-set --topics dev.tsv --qrels dev.qrels --run bm25.txt --corpus c.tsv --output dev",
        add_options=_add_validation_set,
    ),
    Verb(
        "msmarco",
        "Download and prepare MS MARCO training data with the published teacher scores.",
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
        "Cluster the training queries by topic, for TAS-Balanced batches.",
        example="tasb cluster --topics pairs --encoder tasb:minilm --output clusters",
        add_options=_add_cluster,
    ),
)
