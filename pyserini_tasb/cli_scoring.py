"""Arguments of the verbs that score passages: `tasb score`, `tasb rerank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_encoding import add_backend_option
from pyserini_tasb.cli_index import add_remove_query_option

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_scoring_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_score(
        verb(verbs, "score", "pyserini_tasb.train.data.scoring.command:run", "a teacher's scores of training pairs")
    )
    _add_rerank(verb(verbs, "rerank", "pyserini_tasb.rerank.command:run", "re-rank a run with any model"))


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
