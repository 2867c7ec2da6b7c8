"""Arguments of the verb that encodes a corpus: `tasb encode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.cli_encoding import add_backend_option, add_precision_option

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_corpus_verbs(verbs: Any, verb: Verb) -> None:
    """Add it to the tree; `verb` adds one with its name, `module:function` and summary."""
    parser = verb(verbs, "encode", "pyserini_tasb.encode.corpus.command:run", "a corpus to vectors, resumable")
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
