"""The verbs that search, re-rank, expand and show hits."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, cast

from pyserini_tasb.cli.options import (
    ALLOW_BIN,
    CORPUS,
    DEVICE,
    DEVICE_OR_GPU,
    OUTPUT_RUN,
    QRELS,
    RECIPE,
    TOPICS,
    add_allow_other_encoder_option,
    add_backend_option,
    add_batch_size_option,
    add_fields_options,
    add_output_format_option,
    add_overwrite_option,
    add_remove_query_option,
    add_search_options,
    add_set_option,
    add_threads_option,
    at_least_one,
)
from pyserini_tasb.cli.verbs import Verb, say
from pyserini_tasb.tables import text_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.formats.run import Run
    from pyserini_tasb.reranking.depths import DepthCurves
    from pyserini_tasb.reranking.rerank import RerankedRun
    from pyserini_tasb.retrieval.hits_with_text import HitsWithText
    from pyserini_tasb.retrieval.hybrid import HybridRun
    from pyserini_tasb.retrieval.search import BatchTimes, TimedRun


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index",
        required=True,
        nargs="+",
        metavar="DIR",
        help="The folder to search: a Faiss index, a vector folder, or a Lucene index of terms, which BM25 searches. "
        "Several of vectors or of terms are searched as one index; a pattern in quotes ('shards/*') means all folders "
        "that match it.",
    )
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="The query encoder: tasb, tasb:NAME (`tasb list encoders`), a model's folder or hub id, or a "
        "card's path (default: the encoder that made the vectors, if the index names it).",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--output", required=True, metavar="RUN", help=OUTPUT_RUN)
    add_output_format_option(parser)
    parser.add_argument(
        "--hits",
        type=at_least_one,
        default=1_000,
        metavar="K",
        help="Return the K best passages for each query (default: %(default)s).",
    )
    add_batch_size_option(parser)
    add_remove_query_option(parser)
    parser.add_argument(
        "--in-memory", action="store_true", help="Load each index into memory instead of mapping its file."
    )
    add_allow_other_encoder_option(parser)
    parser.add_argument(
        "--latency",
        action="store_true",
        help="Also measure the time of encoding and search, in batches of 1, 10 and 2,000 queries.",
    )
    parser.add_argument(
        "--latency-queries",
        metavar="NAME|PATH",
        help="The queries that --latency times (default: those of --topics). Equal texts count once.",
    )
    parser.add_argument(
        "--tag", metavar="TAG", help="The run's name, in the file's last column (default: the encoder's name, or bm25)."
    )
    parser.add_argument(
        "--k1",
        type=float,
        metavar="K1",
        help="BM25's k1: how soon more occurrences of a term stop to count (default: 0.9).",
    )
    parser.add_argument(
        "--b", type=float, metavar="B", help="BM25's b: how much a passage's length counts, from 0 to 1 (default: 0.4)."
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="Search in processes of a Ray cluster: auto (the one that this machine is a node of) or HOST:PORT. local "
        "starts Ray on this machine. Each process then searches --threads of its shards at a time (default: 1). See "
        "docs/ray.md.",
    )
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help=DEVICE)
    add_backend_option(parser)
    add_search_options(parser)
    add_threads_option(parser)
    add_overwrite_option(parser)


def _report_search(run: Run, options: argparse.Namespace) -> int:
    from pyserini_tasb.indexes.shards import shard_paths  # loaded by the verb

    count = len(shard_paths(options.index))
    say(f"{options.output}: {len(run)} queries, {run.hits:,} hits, {count} folder{'s' * (count != 1)} searched")
    if options.latency:
        timed = cast("TimedRun", run)
        say(f"{timed.threads} threads, {options.hits} hits, {timed.queries} different queries")
        say(_latency_table(timed.times))
    return 0


def _latency_table(times: Sequence[BatchTimes]) -> str:
    """The times as text: a line for each batch size, measured or skipped."""
    import numpy as np

    from pyserini_tasb.retrieval.search import BATCHES

    columns = [f"{part} {value}" for part in ("encode", "search", "total") for value in ("avg", "p50", "p99")]
    lines = []
    for row in times:
        parts = (row.encode, row.search, row.encode + row.search)
        values = [value for part in parts for value in (part.mean(), *np.percentile(part, (50, 99)))]
        lines.append([f"batch {row.size:,} ({len(row.encode)} timed)", *map("{:.2f}".format, values)])
    table = text_table(["milliseconds per batch", *columns], lines, right=range(1, 1 + len(columns)))
    left_out = sorted(BATCHES.keys() - {row.size for row in times})
    advice = "skipped: it needs at least that many different queries (--latency-queries)"
    return "\n".join([table, *(f"batch {size:,}: {advice}" for size in left_out)])


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        required=True,
        metavar="PATH",
        help="The YAML file with the indexes, as `python -m pyserini.server.rest --config` takes it. A path can also "
        "be a pattern of shards, and a hybrid index fuses others by a recipe.",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="Listen at HOST (default: %(default)s).")
    parser.add_argument("--port", type=int, default=8081, metavar="PORT", help="Listen at PORT (default: %(default)s).")
    parser.add_argument(
        "--ray",
        default="local",
        metavar="ADDRESS",
        help="The Ray cluster that holds the shards: auto (the one that this machine is a node of) or HOST:PORT; local "
        "starts Ray on this machine (default: %(default)s).",
    )
    parser.add_argument(
        "--max-hits",
        type=at_least_one,
        default=10_000,
        metavar="K",
        help="Refuse requests for more than K hits (default: %(default)s).",
    )
    parser.add_argument(
        "--queue",
        type=at_least_one,
        default=1_000,
        metavar="N",
        help="Let at most N requests wait, and answer others with status 503 (default: %(default)s).",
    )
    parser.add_argument(
        "--threads",
        type=at_least_one,
        metavar="N",
        help="Let each process search N of its shards of vectors at a time (default: 1).",
    )
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help=DEVICE)
    add_backend_option(parser)
    add_allow_other_encoder_option(parser)


def _add_hybrid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help=RECIPE)
    parser.add_argument(
        "--dense-index",
        nargs="+",
        default=(),
        metavar="DIR|NAME",
        help="The index of vectors (Faiss or Lucene) or the vector folder for each dense input, in the recipe's order: "
        "a folder, or the name of a prebuilt index of Pyserini (default: the recipe's).",
    )
    parser.add_argument(
        "--sparse-index",
        nargs="+",
        default=(),
        metavar="DIR|NAME",
        help="The Lucene index for each bm25, doct5query or impact input, in the recipe's order: a folder, or the name "
        "of a prebuilt index of Pyserini (default: the recipe's).",
    )
    parser.add_argument(
        "--encoder",
        nargs="+",
        default=(),
        metavar="NAME",
        help="The query encoder for each dense input, such as tasb or tasb:NAME (default: the recipe's).",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--output", required=True, metavar="RUN", help=OUTPUT_RUN)
    add_output_format_option(parser)
    parser.add_argument(
        "--hits",
        type=at_least_one,
        metavar="K",
        help="Return the K best passages of each index (default: the recipe's depth).",
    )
    add_remove_query_option(parser)
    add_batch_size_option(parser)
    parser.add_argument(
        "--tag", metavar="TAG", help="The run's name, in the file's last column (default: the recipe's name)."
    )
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help=DEVICE)
    add_set_option(parser)
    add_allow_other_encoder_option(parser)
    add_backend_option(parser)
    add_search_options(parser)
    add_threads_option(parser)
    add_overwrite_option(parser)


def _report_hybrid(run: HybridRun, options: argparse.Namespace) -> int:
    say(f"{options.output}: {run.summary}")
    return 0


def _add_rerank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        required=True,
        metavar="NAME|PATH",
        help="The run to re-rank: a file, or the name of a bundled run, such as dl19-passage.bm25.",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME|PATH",
        help="The model that scores: an encoder's name, or the folder or hub id of a BERT_CAT, a ColBERT, a monoT5, a "
        "duoT5 or another cross-encoder.",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help=TOPICS)
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument(
        "--depth",
        type=int,
        metavar="K",
        help="Score the first K passages of each query and drop the rest (default: 100; with --pairwise, 50).",
    )
    add_remove_query_option(parser)
    parser.add_argument(
        "--keep-rest",
        action="store_true",
        help="Also keep the passages below --depth, after the others and in their old order.",
    )
    parser.add_argument(
        "--pairwise",
        choices=("sym-sum", "sym-sum-log", "sum", "sum-log", "binary", "min", "max"),
        help="Compare passages in pairs with a duoT5 model, and combine a passage's comparisons into its score by "
        "this rule (docs/rerank.md).",
    )
    parser.add_argument(
        "--answers",
        nargs=2,
        metavar=("FALSE", "TRUE"),
        help="The two words that a T5 model answers with, if they are not false and true.",
    )
    parser.add_argument("--output", required=True, metavar="RUN", help=OUTPUT_RUN)
    parser.add_argument(
        "--tag", metavar="TAG", help="The run's name, in the file's last column (default: the model's name)."
    )
    add_model_options(parser)


def _report_rerank(run: RerankedRun, options: argparse.Namespace) -> int:
    say(f"{options.output}: {run.summary}")
    return 0


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of a model that scores pairs, and `--overwrite`."""
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        help="The way in which the model scores a pair: a name from `tasb list pair-scorers`, or your own as "
        "module:name (default: the one that fits the model's config.json).",
    )
    parser.add_argument(
        "--query-max-length",
        type=int,
        metavar="N",
        help="Keep at most N tokens of a query (default: the model's limit).",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="Keep at most N tokens of a passage, or of query and passage if the model reads them together (default: "
        "the model's limit).",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="Compute in this number format (default: the encoder card's, or fp32 for other models).",
    )
    parser.add_argument("--device", metavar="DEVICE", help=DEVICE_OR_GPU)
    add_backend_option(parser)
    parser.add_argument("--allow-bin", action="store_true", help=ALLOW_BIN)
    add_overwrite_option(parser)


def _add_rerank_depths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help=QRELS)
    parser.add_argument(
        "--first-stage",
        required=True,
        nargs="+",
        action="append",
        metavar="NAME|PATH",
        help="A first-stage run, and after it its re-ranked runs, one for each model. May be given again for another "
        "first stage.",
    )
    add_remove_query_option(parser)
    parser.add_argument(
        "--measure",
        default="nDCG@10",
        metavar="MEASURE",
        help="The measure, as ir-measures writes it (default: %(default)s).",
    )
    parser.add_argument(
        "--depths",
        type=int,
        nargs="+",
        default=(10, 20, 50, 100, 200, 500, 1_000),
        metavar="K",
        help="Measure these depths (default: 10 20 50 100 200 500 1000).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PICTURE.png",
        help="A new file for the picture of the curves. A .csv file beside it gets the numbers.",
    )
    add_overwrite_option(parser)
    parser.add_argument("--markdown", action="store_true", help="Print Markdown.")


def _report_rerank_depths(curves: DepthCurves, options: argparse.Namespace) -> int:
    say(f"{curves.to_markdown() if options.markdown else curves.to_text()}\n\n{curves.about}")
    return 0


def _add_expand(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    queries = parser.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--predictions",
        nargs="+",
        metavar="FILE",
        help="Files with published queries: JSONL, or text files with a line for each passage. Several text files are "
        "read side by side (docs/docT5query.md).",
    )
    queries.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="A model that predicts queries: the folder or hub id of a T5 or another sequence-to-sequence model.",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="A new folder for the expanded passages, which Pyserini indexes."
    )
    parser.add_argument(
        "--shard-size",
        type=at_least_one,
        metavar="N",
        help="Write N passages into each file (default: 100000; with --model, 1024). With --model, an interruption "
        "loses the passages of one file.",
    )
    model = parser.add_argument_group("with --model")
    model.add_argument(
        "--samples",
        type=at_least_one,
        metavar="N",
        help="The number of queries to predict for each passage (default: 40).",
    )
    model.add_argument(
        "--top-k", type=at_least_one, metavar="K", help="Draw each token from the K most likely ones (default: 10)."
    )
    model.add_argument("--seed", type=int, metavar="N", help="The random seed (default: 0).")
    model.add_argument("--device", metavar="DEVICE", help=DEVICE_OR_GPU)
    model.add_argument("--allow-bin", action="store_true", help=ALLOW_BIN)
    model.add_argument(
        "--queries-only",
        action="store_true",
        help="Write the queries without the passages, as JSONL for --predictions and for `tasb pseudo-queries`.",
    )
    add_overwrite_option(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="The runs: files, or names of bundled runs, such as dl19-passage.tasb."
    )
    parser.add_argument(
        "--topic",
        nargs="+",
        action="extend",
        metavar="QID",
        help="Show the queries with these ids (default with --html: all of --topics, or else of the runs).",
    )
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument(
        "--hits",
        type=at_least_one,
        metavar="K",
        help="Show the K best documents of each query (default: 10; with --html, 100).",
    )
    parser.add_argument(
        "--topics",
        metavar="NAME|PATH",
        help="The queries, whose texts are shown as well: a name, such as dl19-passage, a file, or READER:PATH "
        "(docs/extend.md).",
    )
    parser.add_argument(
        "--qrels",
        metavar="NAME|PATH",
        help="The judgments, whose grades are shown as well: a name, such as dl19-passage, or a file.",
    )
    parser.add_argument(
        "--measure",
        default="nDCG@10",
        metavar="MEASURE",
        help="The measure that compares queries, as ir-measures writes it (with --qrels; default: %(default)s).",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME|PATH",
        help="The fusion of the first runs, as `tasb fuse` makes it: a name, such as tasb+bm25, or the path of a YAML "
        "file (fusion/README.md). It is shown first, with each input's part of every score.",
    )
    add_set_option(parser)
    parser.add_argument(
        "--html",
        metavar="PAGE.html",
        help="Write a page with the runs side by side into this new file instead of printing; - is standard output.",
    )
    add_overwrite_option(parser, "--html")


def _report_show(hits: HitsWithText, options: argparse.Namespace) -> int:
    if options.html is not None:
        say(f"{options.html}: {hits.summary}")
        return 0
    text = hits.to_text(shutil.get_terminal_size((100, 24)).columns)
    encoding = sys.stdout.encoding or "ascii"
    say(text.encode(encoding, "replace").decode(encoding))  # texts may have letters that the terminal lacks
    return 0


VERBS = (
    Verb(
        "search",
        "Search one index, or several as one, and write a run.",
        example="tasb search --index index --encoder tasb --topics dl19-passage --output run.txt",
        add_options=_add_search,
        report=_report_search,
    ),
    Verb(
        "serve",
        "Answer queries over HTTP, as Pyserini's REST server does.",
        example="tasb serve --config server.yaml --port 8081",
        add_options=_add_serve,
    ),
    Verb(
        "hybrid",
        "Search all indexes of a fusion recipe and fuse their results.",
        example="tasb hybrid --recipe tasb+bm25 --topics dl19-passage --output run.txt",
        add_options=_add_hybrid,
        report=_report_hybrid,
    ),
    Verb(
        "rerank",
        "Re-rank the top of a run with another model.",
        example="tasb rerank --run bm25.txt --model tasb --topics topics.tsv --corpus corpus.tsv --output run.txt",
        add_options=_add_rerank,
        report=_report_rerank,
    ),
    Verb(
        "rerank-depths",
        "Measure re-ranking at several depths and draw a curve for each model.",
        example="tasb rerank-depths --qrels dl19-passage --first-stage bm25.txt reranked.txt --output depths.png",
        add_options=_add_rerank_depths,
        report=_report_rerank_depths,
        printing=("markdown",),
    ),
    Verb(
        "expand",
        "Add predicted queries to the passages of a corpus (docT5query).",
        example="tasb expand --corpus collection.tsv --model castorini/doc2query-t5-base-msmarco --output expanded",
        add_options=_add_expand,
    ),
    Verb(
        "show",
        "Show the hits of runs with their texts, in the terminal or as a page.",
        example="tasb show run.txt --topic 42 --corpus collection.tsv",
        add_options=_add_show,
        report=_report_show,
    ),
)
