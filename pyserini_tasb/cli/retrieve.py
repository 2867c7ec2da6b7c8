"""Arguments of the verbs that encode, index, search, score and expand; and options that several verbs share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_encoding_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_export(verb(verbs, "export", "pyserini_tasb.encoding.export:run", "an encoder's model for ONNX Runtime"))


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """`--backend`, for a verb that encodes."""
    parser.add_argument(
        "--backend",
        choices=("auto", "torch", "onnx"),
        help="what computes vectors (default: $PYSERINI_TASB_BACKEND, else the encoder card's)",
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """`--precision`, for a verb that encodes."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="the least accuracy to compute with (default: the encoder card's)",
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", required=True, metavar="NAME", help="e.g. tasb, tasb:minilm, or a model's folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="default: %(default)s")
    parser.add_argument(
        "--sample",
        nargs=2,
        metavar=("COLLECTION", "TOPICS"),
        help="texts to compare vectors and rankings on (default: 128 abstracts and 64 queries of CACM)",
    )
    parser.add_argument("--force", action="store_true", help="also write a model that lost more than it should")


# --------
# Arguments of the verbs around an index: `tasb index`, `tasb search`.


def add_index_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_index(verb(verbs, "index", "pyserini_tasb.indexes.build:run", "vectors to a Faiss or Lucene index"))
    _add_search(verb(verbs, "search", "pyserini_tasb.retrieval.search:run", "search Faiss indexes as one"))


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vectors", required=True, metavar="DIR", help="of `tasb encode`, or a flat Faiss folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="the index")
    parser.add_argument(
        "--kind",
        default="flat",
        metavar="KIND",
        help="flat, fp16, bf16, int8, hnsw, ivf, ivfpq, lucene-flat, lucene-hnsw, or a Faiss factory string, "
        "such as OPQ32,IVF1024,PQ32 (default: %(default)s)",
    )
    parser.add_argument("--refine", choices=("fp32", "fp16"), help="rank what is found again by the vectors themselves")
    parser.add_argument(
        "--parameters", metavar="NAME=VALUE,…", help="of the search, kept in the index: nprobe=64,k_factor_rf=8"
    )
    parser.add_argument("--sample", type=at_least_one, metavar="N", help="vectors to train on (default: by the kind)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: %(default)s)")
    parser.add_argument("--queries", metavar="NAME|PATH", help="topics to measure it with, encoded by --encoder")
    parser.add_argument("--encoder", metavar="NAME", help="of --queries")
    parser.add_argument(
        "--query-encoder",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="encoders that may search the index, besides the one that made the vectors",
    )
    add_backend_option(parser)
    add_threads_option(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", required=True, nargs="+", metavar="DIR", help="Faiss folders; several are one index")
    parser.add_argument("--encoder", required=True, metavar="NAME", help="tasb, tasb:NAME, or a model's path")
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


def add_allow_other_encoder_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-other-encoder`, for a verb that opens an index with a query encoder."""
    parser.add_argument(
        "--allow-other-encoder",
        action="store_true",
        help="search with an encoder that the index does not list, although its scores may mean nothing",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """`--threads`, for a verb that searches."""
    parser.add_argument("--threads", type=at_least_one, metavar="N", help="default: the cores this process may use")


def add_remove_query_option(parser: argparse.ArgumentParser) -> None:
    """`--remove-query`, for a verb that makes or reads runs."""
    parser.add_argument(
        "--remove-query",
        action="store_true",
        help="drop from a query's documents the one whose id is the query's. Use it where queries are documents of the "
        "collection (ArguAna, Quora, CQADupStack); not where both are numbered independently (Cranfield)",
    )


def at_least_one(text: str) -> int:
    """A number of things."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


# --------
# Arguments of the verb that encodes a corpus: `tasb encode`.


def add_corpus_verbs(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "encode", "pyserini_tasb.encoding.corpus:run", "a corpus to vectors, resumable")
    parser.add_argument("--encoder", required=True, metavar="NAME|PATH", help="e.g. tasb, tasb:minilm, a folder")
    parser.add_argument(
        "--corpus", required=True, nargs="+", metavar="PATH", help="TSV, JSONL, Lucene index or text store"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the vectors, in units; formats are put inside")
    parser.add_argument(
        "--format",
        nargs="+",
        action="extend",
        default=[],
        choices=("faiss", "jsonl", "parquet", "npy"),
        help="for others to read, as DIR/FORMAT; may be asked for later, too: nothing is encoded again",
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens kept of a passage (default: the card's)")
    add_precision_option(parser)
    parser.add_argument("--dtype", choices=("fp32", "fp16"), default="fp32", help="to store in (default: %(default)s)")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda:0, … (default: a GPU if there is one)")
    parser.add_argument(
        "--unit-size",
        type=int,
        metavar="N",
        help="passages of a unit, which is what an interruption loses (default: 16384, or what DIR was begun with)",
    )
    add_backend_option(parser)
    shared = parser.add_mutually_exclusive_group()
    shared.add_argument("--processes", type=int, default=1, metavar="N", help="share the units out to N processes")
    shared.add_argument("--shard", metavar="i/n", help="only every n-th unit, from the i-th on, counted from 0")


# --------
# Arguments of the verb that searches and fuses: `tasb hybrid`.


def add_hybrid_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "hybrid", "pyserini_tasb.retrieval.hybrid:run", "search a recipe's indexes, and fuse")
    parser.add_argument("--recipe", required=True, metavar="NAME|PATH", help="e.g. tasb+bm25 (fusion/README.md)")
    parser.add_argument(
        "--dense-index",
        nargs="+",
        default=[],
        metavar="DIR|NAME",
        help="Faiss folder or Lucene index of vectors, one for each dense input (default: the recipe's)",
    )
    parser.add_argument(
        "--sparse-index",
        nargs="+",
        default=[],
        metavar="DIR|NAME",
        help="Lucene index, one for each bm25, doct5query or impact input, in the recipe's order (default: its own)",
    )
    parser.add_argument(
        "--encoder", nargs="+", default=[], metavar="NAME", help="one for each dense input (default: the recipe's)"
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


# --------
# Arguments of the verbs that score passages: `tasb score`, `tasb rerank`.


def add_scoring_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_score(verb(verbs, "score", "pyserini_tasb.data.scoring:run", "a teacher's scores of training pairs"))
    _add_rerank(verb(verbs, "rerank", "pyserini_tasb.reranking.rerank:run", "re-rank a run with any model"))


def _add_score(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME|PATH", help="an encoder's name, or a BERT_CAT, ColBERT, cross-encoder")
    what.add_argument("--ensemble", nargs="+", metavar="TSV", help="files of scores, to be averaged")
    parser.add_argument(
        "--pairs", nargs="+", metavar="TSV", help="[pos_score neg_score | margin] qid pos_pid neg_pid; ids count"
    )
    parser.add_argument("--collection", metavar="PATH", help="TSV, JSONL, Lucene index or text store")
    parser.add_argument("--queries", metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--output", required=True, metavar="TSV", help="pos_score neg_score qid pos_pid neg_pid")
    add_allow_reversed_option(parser)
    _add_model_options(parser)


def add_allow_reversed_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-reversed`, for a verb that reads or makes a teacher's scores."""
    parser.add_argument(
        "--allow-reversed",
        action="store_true",
        help="go on where the teacher scores most negatives above their positives (are the columns swapped?)",
    )


def _add_rerank(parser: argparse.ArgumentParser) -> None:
    # `run` names the function of a verb.
    parser.add_argument("--run", dest="run_file", required=True, metavar="NAME|PATH", help="the run to re-rank")
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME|PATH",
        help="an encoder, BERT_CAT, ColBERT, monoT5, cross-encoder",
    )
    parser.add_argument("--topics", required=True, metavar="NAME|PATH", help="topics, or a TSV of ids and texts")
    parser.add_argument("--collection", required=True, metavar="PATH", help="TSV, JSONL, Lucene index or text store")
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
    _add_model_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--query-max-length", type=int, metavar="N", help="tokens (default: the model's)")
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens of a passage, or of both if read together")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: an encoder card's, else fp32")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda:0, … (default: a GPU if there is one)")
    add_backend_option(parser)
    parser.add_argument("--allow-bin", action="store_true", help="accept weights in pytorch_model.bin, a pickle")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")


# --------
# Arguments of `tasb rerank-depths`.


def add_rerank_depths_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(
        verbs,
        "rerank-depths",
        "pyserini_tasb.reranking.depths:run",
        "a measure at each depth of re-ranking (docs/rerank.md)",
    )
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
        default=[10, 20, 50, 100, 200, 500, 1_000],
        metavar="K",
        help="default: 10 20 50 100 200 500 1000",
    )
    parser.add_argument("--output", required=True, metavar="PICTURE.png", help="beside it, the same as .csv")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")


# --------
# Arguments of the verb that expands passages: `tasb expand`.


def add_expansion_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "expand", "pyserini_tasb.expansion.expand:run", "docT5query: passages with predicted queries")
    parser.add_argument(
        "--collection",
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
