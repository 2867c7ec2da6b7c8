"""Say early that a topics file is missing: Pyserini takes its path for a name and looks that up."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.plugin.names import CLASS_NAME, names_tasb

if TYPE_CHECKING:
    from collections.abc import Callable


def check_topics_first(namespace: dict[str, Any]) -> None:
    """In a search command with one of our encoders, check the topics path before Pyserini reads it."""
    stock: Callable[..., Any] = namespace["get_query_iterator"]

    @functools.wraps(stock)
    def get_query_iterator(topics_path: str, *arguments: Any) -> Any:
        looks_like_path = "/" in topics_path or Path(topics_path).suffix in {".tsv", ".txt", ".jsonl", ".json", ".gz"}
        if looks_like_path and not Path(topics_path).exists() and _encoder_is_ours(namespace.get("args")):
            raise TasbError(
                expected="--topics: a file, or the name of topics that Pyserini knows",
                found=f"no file {topics_path}",
                do="check the path (a relative one starts at the current folder)",
            )
        return stock(topics_path, *arguments)

    namespace["get_query_iterator"] = get_query_iterator


def _encoder_is_ours(arguments: Any) -> bool:
    dense = getattr(arguments, "dense", None)  # in hybrid search the options of a sub-command, elsewhere a switch
    options = dense if hasattr(dense, "encoder") else arguments
    names = [getattr(options, "encoder", None), getattr(options, "onnx_encoder", None)]
    by_class = getattr(options, "encoder_class", None) == CLASS_NAME
    return by_class or any(names_tasb(name) for name in names if isinstance(name, str))
