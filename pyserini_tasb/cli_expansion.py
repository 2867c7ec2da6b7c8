"""Arguments of the verb that expands passages: `tasb expand`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_index import at_least_one

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_expansion_verb(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "expand", "pyserini_tasb.expand.command:run", "docT5query: passages with predicted queries")
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
