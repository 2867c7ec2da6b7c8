"""Adapters for the modules that `python -m pyserini…` runs: which encoder a name means, `--encoder-class tasb`.

Names that are not ours go through Pyserini's own function over Pyserini's own class map. So nothing changes for them,
nor for the options that Pyserini derives from a name.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import logging
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.errors import TasbError, printable
from pyserini_tasb.plugin.startup import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


CLASS_NAME = "tasb"  # of `--encoder-class`
# Pyserini looks for its class names as substrings of the lower-cased encoder name; these are ours.
MARKS = ("tasb", "tas_b", "tas-b")
HELP = f"; `{CLASS_NAME}` (pyserini-tasb) reads any model as TAS-B, whatever its name"
TOPICS_SUFFIXES = {".gz", ".json", ".jsonl", ".tsv", ".txt"}
SHOWN = 10  # docids, in an error


def adapt_class_maps(namespace: dict[str, Any]) -> None:
    """Put our keys first (the first match wins), in place: other modules hold these very dicts."""
    for map_name, encoder in (
        ("query_encoder_class_map", TasbQueryEncoder),
        ("document_encoder_class_map", TasbDocumentEncoder),
    ):
        class_map = namespace[map_name]
        theirs = dict(class_map)
        class_map.clear()
        class_map.update(dict.fromkeys(MARKS, encoder))
        class_map.update(theirs)


def adapt_search_faiss(namespace: dict[str, Any]) -> None:
    """`pyserini.search.faiss`, whose functions `pyserini.search.hybrid` uses as well."""
    _short_errors(namespace)
    check_options(namespace)
    define = namespace["define_dsearch_args"]

    @functools.wraps(define)
    def define_dsearch_args(parser: argparse.ArgumentParser) -> None:
        define(parser)
        for action in parser._actions:  # noqa: SLF001
            _offer_class(action)

    def ours(asked: dict[str, Any]) -> TasbQueryEncoder:
        return TasbQueryEncoder(
            asked["encoder"],
            tokenizer_name=asked["tokenizer_name"],
            device=namespace["resolve_device"](asked["device"], backend="torch"),
            prefix=asked["prefix"],
            fp16=asked["fp16"],
        )

    namespace["define_dsearch_args"] = define_dsearch_args
    namespace["init_query_encoder"] = _choose(namespace["init_query_encoder"], "query_encoder_class_map", ours)


def adapt_encode(namespace: dict[str, Any]) -> None:
    """`pyserini.encode`: the corpus encoder."""
    _short_errors(namespace)
    chosen: list[TasbDocumentEncoder] = []

    def ours(asked: dict[str, Any]) -> TasbDocumentEncoder:
        encoder = TasbDocumentEncoder(
            asked["encoder"],
            device=namespace["resolve_device"](asked["device"], backend="torch"),
            prefix=asked["prefix"],
        )
        if "args" in namespace and namespace["args"].output.to_faiss:
            _check_dimension_option(encoder, namespace["args"].encoder.dimension)
        chosen.append(encoder)
        return encoder

    iterator = namespace["JsonlCollectionIterator"]

    def checked_iterator(corpus: str, *arguments: Any, **options: Any) -> Any:
        collection = iterator(corpus, *arguments, **options)
        if chosen:  # other encoders keep Pyserini's behaviour
            check_docids(corpus, collection.all_info["id"], collection.docid_field)
        return collection

    namespace["argparse"] = _argparse_offering_ours()
    namespace["init_encoder"] = _choose(namespace["init_encoder"], "document_encoder_class_map", ours)
    namespace["JsonlCollectionIterator"] = checked_iterator


def adapt_encode_query(namespace: dict[str, Any]) -> None:
    """`pyserini.encode.query`, which has an if-chain instead of a class map and no `--encoder-class`."""
    _short_errors(namespace)

    def ours(asked: dict[str, Any]) -> TasbQueryEncoder:
        return TasbQueryEncoder(asked["encoder"], device=asked["device"], prefix=asked["prefix"])

    namespace["init_encoder"] = _choose(namespace["init_encoder"], None, ours)


def adapt_other_search(namespace: dict[str, Any]) -> None:
    """Searches that reach our encoders through an adapted module."""
    _short_errors(namespace)
    check_options(namespace)


def _choose(stock: FunctionType, class_map: str | None, ours: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """Pyserini's function that turns an encoder name into an encoder, with TAS-B names going to `ours`."""
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def init_encoder(*arguments: Any, **options: Any) -> Any:
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        name, kind = bound.arguments["encoder"], bound.arguments.get("encoder_class")
        by_name = kind is None and not bound.arguments.get("bpr")  # Pyserini 2.4's --bpr chooses a class as well
        if name and (kind == CLASS_NAME or (by_name and names_tasb(name))):
            return ours(bound.arguments)
        unplugged = stock
        if class_map is not None:
            theirs = without_ours(stock.__globals__[class_map])
            unplugged = FunctionType(stock.__code__, {**stock.__globals__, class_map: theirs}, stock.__name__)
        return unplugged(*bound.args, **bound.kwargs)

    return init_encoder


def names_tasb(encoder: str) -> bool:
    """True if `--encoder ENCODER` asks for TAS-B: `tasb`, `tasb:…`, or a last path component that says so.

    `/data/tasb-study/contriever` merely contains the letters: its last component is somebody else's model.
    """
    name = encoder.strip().lower().replace("\\", "/").rstrip("/")
    return name.startswith("tasb:") or any(mark in name.rpartition("/")[2] for mark in MARKS)


def without_ours(class_map: dict[str, type]) -> dict[str, type]:
    """Pyserini's class map as it would be had we never been installed."""
    return {name: kind for name, kind in class_map.items() if name not in MARKS}


def _argparse_offering_ours() -> SimpleNamespace:
    """The `argparse` that `pyserini.encode.__main__` sees: it builds its parser inside the main block."""

    class Parser(argparse.ArgumentParser):
        def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
            action = super().add_argument(*names, **options)
            _offer_class(action)
            return action

    return SimpleNamespace(**{**vars(argparse), "ArgumentParser": Parser})


def _offer_class(action: argparse.Action) -> None:
    if "--encoder-class" in action.option_strings and action.choices is not None:
        action.choices = [*action.choices, CLASS_NAME]
        action.help = (action.help or "") + HELP


def _check_dimension_option(encoder: TasbDocumentEncoder, option: int) -> None:
    if option != encoder.dimension:
        raise TasbError(
            expected=f"--dimension {encoder.dimension}, the size of this encoder's vectors",
            found=f"--dimension {option}" + (" (Pyserini's default)" if option == 768 else ""),
            do=f"add `--dimension {encoder.dimension}` after `encoder`",
        )


def check_options(namespace: dict[str, Any]) -> None:
    """Check and complete the options of a search with one of our encoders, before Pyserini acts on them.

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


def check_docids(corpus: str, docids: list[str], docid_field: str | None = None) -> None:
    """Raise `TasbError` when a docid is empty, holds white space, or occurs twice.

    Pyserini strips docids when it reads them back and TREC runs split on white space, so such ids do not survive.

    Args:
        corpus: the JSONL file or folder that was read.
        docids: its docids, in Pyserini's reading order.
        docid_field: the JSON key they came from; by default the first of Pyserini's `id`, `_id`, `docid`.
    """
    counts = Counter(docids)
    bad = {docid for docid, count in counts.items() if count > 1 or not docid or docid.split() != [docid]}
    if not bad:
        return
    places = _places(Path(corpus), bad, [docid_field] if docid_field else ["id", "_id", "docid"])
    shown = "".join(f"\n    {place}" for place in places[:SHOWN])
    more = f"\n    … and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    raise TasbError(
        where=corpus,
        expected="docids that are unique, not empty, and without white space",
        found=f"{len(bad)} that are not:{shown}{more}",
        do="rename or remove these documents; nothing was encoded or written",
    )


def _places(corpus: Path, bad: set[str], keys: list[str]) -> list[str]:
    found = []
    for file in sorted(corpus.iterdir()) if corpus.is_dir() else [corpus]:
        with file.open() as lines:
            for number, line in enumerate(lines, start=1):
                document = json.loads(line)
                docid = str(next(document[key] for key in keys if key in document))
                if docid in bad:
                    found.append(f"{file}:{number}: {docid!r}")
    return found


def _short_errors(namespace: dict[str, Any]) -> None:
    """In a command, print only the message of a TasbError, without the traceback."""
    if namespace["__name__"] != "__main__":
        return
    print_log()
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, TasbError):
            say(f"error: {error}")
        else:
            previous(kind, error, trace)

    sys.excepthook = hook


def print_log() -> None:
    """Print what we log, notes included, as `pyserini-tasb: …`; Pyserini has set up the root logger for warnings."""
    log = logging.getLogger("pyserini_tasb")
    if not log.handlers:
        log.addHandler(_Stderr())
        log.setLevel(logging.INFO)
        log.propagate = False


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"pyserini-tasb: {printable(record.getMessage())}")
