"""The verbs that search, re-rank, expand and show: search, hybrid, rerank, rerank-depths, expand, show."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, cast

from pyserini_tasb.cli.options import (
    add_allow_other_encoder_option,
    add_backend_option,
    add_remove_query_option,
    add_threads_option,
    at_least_one,
)
from pyserini_tasb.cli.verbs import Verb
from pyserini_tasb.tables import text_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pyserini_tasb.formats.run import Run
    from pyserini_tasb.reranking.depths import DepthCurves
    from pyserini_tasb.reranking.rerank import RerankedRun
    from pyserini_tasb.retrieval.hits import HitsWithText
    from pyserini_tasb.retrieval.hybrid import HybridRun
    from pyserini_tasb.retrieval.search import BatchTimes, TimedRun


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", required=True, nargs="+", metavar="DIR", help="Faiss folders; several are one index")
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="The encoder of the queries: tasb, tasb:NAME, or a model's path. By default it is the one that made the "
        "vectors, where the index says which.",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="RUN")
    parser.add_argument("--output-format", choices=("trec", "msmarco"), default="trec", help="default: %(default)s")
    parser.add_argument("--hits", type=at_least_one, default=1_000, metavar="K", help="default: %(default)s")
    parser.add_argument(
        "--batch-size", type=at_least_one, default=64, metavar="N", help="queries (default: %(default)s)"
    )
    add_remove_query_option(parser)
    parser.add_argument("--in-memory", action="store_true", help="read each index whole instead of mapping its file")
    add_allow_other_encoder_option(parser)
    parser.add_argument("--latency", action="store_true", help="measure encoding and search in batches of 1, 10, 2000")
    parser.add_argument(
        "--latency-queries",
        metavar="NAME|PATH",
        help="topics that --latency times (default: --topics); each text counts once",
    )
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the encoder's name)")
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of the encoder (default: %(default)s)")
    add_backend_option(parser)
    add_threads_option(parser)


def _report_search(run: Run, options: argparse.Namespace) -> int:
    print(f"{options.output}: {len(run)} queries, {run.hits:,} hits, {len(options.index)} folders searched")
    if options.latency:
        timed = cast("TimedRun", run)
        print(f"{timed.threads} threads, {options.hits} hits, {timed.queries} different queries")
        print(_latency_table(timed.times))
    return 0


def _latency_table(times: Sequence[BatchTimes]) -> str:
    """The times as text: a line for each batch size, and for each that was left out."""
    import numpy as np

    from pyserini_tasb.retrieval.search import BATCHES

    columns = [f"{part} {value}" for part in ("encode", "search", "total") for value in ("avg", "p50", "p99")]
    lines = []
    for row in times:
        parts = (row.encode, row.search, row.encode + row.search)
        values = [value for part in parts for value in (part.mean(), *np.percentile(part, (50, 99)))]
        lines.append([f"batch {row.size:,} ({len(row.encode)} timed)", *map("{:.2f}".format, values)])
    table = text_table(["milliseconds a batch", *columns], lines, right=range(1, 1 + len(columns)))
    left_out = sorted(BATCHES.keys() - {row.size for row in times})
    advice = "left out, it needs as many different queries (--latency-queries)"
    return "\n".join([table, *(f"batch {size:,}: {advice}" for size in left_out)])


def _add_hybrid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help="e.g. tasb+bm25 (fusion/README.md)")
    parser.add_argument(
        "--dense-index",
        nargs="+",
        default=(),
        metavar="DIR|NAME",
        help="Faiss folder or Lucene index of vectors, one for each dense input (default: the recipe's)",
    )
    parser.add_argument(
        "--sparse-index",
        nargs="+",
        default=(),
        metavar="DIR|NAME",
        help="Lucene index, one for each bm25, doct5query or impact input, in the recipe's order (default: its own)",
    )
    parser.add_argument(
        "--encoder", nargs="+", default=(), metavar="NAME", help="one for each dense input (default: the recipe's)"
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="RUN", help="the fused run; gzip if named ….gz")
    parser.add_argument("--output-format", choices=("trec", "msmarco"), default="trec", help="default: %(default)s")
    parser.add_argument("--hits", type=at_least_one, metavar="K", help="of each index (default: the recipe's depth)")
    add_remove_query_option(parser)
    parser.add_argument(
        "--batch-size", type=at_least_one, default=64, metavar="N", help="queries (default: %(default)s)"
    )
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the recipe's name)")
    parser.add_argument("--device", metavar="DEVICE", default="cpu", help="of the encoder (default: %(default)s)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the recipe's")
    add_allow_other_encoder_option(parser)
    add_backend_option(parser)
    add_threads_option(parser)


def _report_hybrid(run: HybridRun, options: argparse.Namespace) -> int:
    print(f"{options.output}: {run.summary}")
    return 0


def _add_rerank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="NAME|PATH", help="the run to re-rank")
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME|PATH",
        help="an encoder, BERT_CAT, ColBERT, monoT5, cross-encoder",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--corpus", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument(
        "--depth",
        type=int,
        metavar="K",
        help="of --run; what lies below is dropped (default: 100; with --pairwise 50)",
    )
    add_remove_query_option(parser)
    parser.add_argument("--keep-rest", action="store_true", help="what lies below --depth follows in its order")
    parser.add_argument(
        "--pairwise",
        choices=("sym-sum", "sym-sum-log", "sum", "sum-log", "binary", "min", "max"),
        help="compare every two passages with a duoT5; how a passage's comparisons make its score",
    )
    parser.add_argument(
        "--answers", nargs=2, metavar=("FALSE", "TRUE"), help="of a T5 that was trained to answer with other words"
    )
    parser.add_argument("--output", required=True, metavar="RUN", help="the re-ranked run")
    parser.add_argument("--tag", metavar="TAG", help="of the run (default: the model's name)")
    add_model_options(parser)


def _report_rerank(run: RerankedRun, options: argparse.Namespace) -> int:
    print(f"{options.output}: {run.summary}")
    return 0


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        help="how the model scores a pair: a name of `tasb list pair-scorers`, or module:name (default: by its "
        "config.json)",
    )
    parser.add_argument("--query-max-length", type=int, metavar="N", help="tokens (default: the model's)")
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens of a passage, or of both if read together")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: an encoder card's, else fp32")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda:0, … (default: a GPU if there is one)")
    add_backend_option(parser)
    parser.add_argument("--allow-bin", action="store_true", help="accept weights in pytorch_model.bin, a pickle")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")


def _add_rerank_depths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help="e.g. dl19-passage")
    parser.add_argument(
        "--first-stage",
        required=True,
        nargs="+",
        action="append",
        metavar="NAME|PATH",
        help="a run, and what `tasb rerank` made of it with each model; may be given several times",
    )
    add_remove_query_option(parser)
    parser.add_argument("--measure", default="nDCG@10", metavar="MEASURE", help="default: %(default)s")
    parser.add_argument(
        "--depths",
        type=int,
        nargs="+",
        default=(10, 20, 50, 100, 200, 500, 1_000),
        metavar="K",
        help="default: 10 20 50 100 200 500 1000",
    )
    parser.add_argument("--output", required=True, metavar="PICTURE.png", help="beside it, the same as .csv")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")


def _report_rerank_depths(curves: DepthCurves, options: argparse.Namespace) -> int:
    print(f"{curves.to_markdown() if options.markdown else curves.to_text()}\n\n{curves.about}")
    return 0


def _add_expand(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="PATH",
        help="TSV, JSONL, Lucene index or text store (docs/docT5query.md)",
    )
    queries = parser.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--predictions",
        nargs="+",
        metavar="FILE",
        help="as published: a line of queries for each passage (several files: side by side), or JSONL",
    )
    queries.add_argument("--model", metavar="NAME|PATH", help="predicts queries: a T5, or any other seq2seq model")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder of Pyserini's JSONL, to index")
    parser.add_argument(
        "--shard-size",
        type=at_least_one,
        metavar="N",
        help="passages of a file (default: 100000; with --model 1024, which is what an interruption loses)",
    )
    model = parser.add_argument_group("with --model")
    model.add_argument("--samples", type=at_least_one, metavar="N", help="queries of a passage (default: 40)")
    model.add_argument("--top-k", type=at_least_one, metavar="K", help="tokens to sample each from (default: 10)")
    model.add_argument("--seed", type=int, metavar="N", help="of the sampling (default: 0)")
    model.add_argument("--device", metavar="DEVICE", help="cpu, cuda:0, … (default: a GPU if there is one)")
    model.add_argument("--allow-bin", action="store_true", help="accept weights in pytorch_model.bin, a pickle")


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's file, or the name of a bundled one")
    parser.add_argument(
        "--topic", required=True, nargs="+", action="extend", metavar="QID", help="the ids of the queries to show"
    )
    parser.add_argument(
        "--corpus", required=True, metavar="PATH", help="the passages: TSV, JSONL, Lucene index or text store"
    )
    parser.add_argument(
        "--hits", type=at_least_one, default=10, metavar="K", help="documents of each query (default: %(default)s)"
    )
    parser.add_argument("--topics", metavar="NAME|PATH", help="also shows the queries' texts")
    parser.add_argument("--qrels", metavar="NAME|PATH", help="also shows the judges' grades")


def _report_show(hits: HitsWithText, _options: argparse.Namespace) -> int:
    text = hits.to_text(shutil.get_terminal_size((100, 24)).columns)
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))  # texts may have letters that the terminal lacks
    return 0


VERBS = (
    Verb(
        "search",
        "Search one Faiss index, or several as one.",
        example="tasb search --index index --encoder tasb --topics dl19-passage --output run.txt",
        add_options=_add_search,
        report=_report_search,
    ),
    Verb(
        "hybrid",
        "Search all indexes of a fusion recipe and fuse what they find.",
        example="tasb hybrid --recipe tasb+bm25 --topics dl19-passage --output run.txt",
        add_options=_add_hybrid,
        report=_report_hybrid,
    ),
    Verb(
        "rerank",
        "Score the top of a run again with any model.",
        example="tasb rerank --run bm25.txt --model tasb --topics topics.tsv --corpus corpus.tsv --output run.txt",
        add_options=_add_rerank,
        report=_report_rerank,
    ),
    Verb(
        "rerank-depths",
        "Measure re-ranking at several depths and draw the curves.",
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
        "Show queries of a run with the text of their hits.",
        example="tasb show run.txt --topic 42 --corpus collection.tsv",
        add_options=_add_show,
        report=_report_show,
    ),
)
