"""Look at a search command's options before Pyserini acts on them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.plugin.names import CLASS_NAME, names_tasb

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS_SUFFIXES = {".gz", ".json", ".jsonl", ".tsv", ".txt"}


def check_options(namespace: dict[str, Any]) -> None:
    """Check and complete the options of a search with one of our encoders; leave all others alone.

    Reading the topics is the first thing Pyserini does with its options, which are a global of the command by then.
    """
    stock: Callable[..., Any] = namespace["get_query_iterator"]

    @functools.wraps(stock)
    def get_query_iterator(topics_path: str, *arguments: Any) -> Any:
        options = namespace.get("args")
        if _encoder_is_ours(options):
            _check_topics(topics_path)
            _encode_dense_queries(options)
        return stock(topics_path, *arguments)

    namespace["get_query_iterator"] = get_query_iterator


def _encoder_is_ours(options: Any) -> bool:
    dense = getattr(options, "dense", None)  # in hybrid search the options of a sub-command, in Lucene search a switch
    options = dense if hasattr(dense, "encoder") else options
    names = [getattr(options, "encoder", None), getattr(options, "onnx_encoder", None)]
    by_class = getattr(options, "encoder_class", None) == CLASS_NAME
    return by_class or any(names_tasb(name) for name in names if isinstance(name, str))


def _check_topics(topics: str) -> None:
    # Pyserini takes the path of a missing file for the name of topics, and looks that up.
    looks_like_path = "/" in topics or Path(topics).suffix in TOPICS_SUFFIXES
    if looks_like_path and not Path(topics).exists():
        raise TasbError(
            expected="--topics: a file, or the name of topics that Pyserini knows",
            found=f"no file {topics}",
            do="check the path (a relative one starts at the current folder)",
        )


def _encode_dense_queries(options: Any) -> None:
    # Pyserini's Lucene search parses --encoder and then ignores it for dense indexes.
    if getattr(options, "dense", None) is True and not options.onnx_encoder:
        options.onnx_encoder = options.encoder
