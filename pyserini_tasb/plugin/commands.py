"""Adapt the modules that `python -m pyserini…` runs: which encoder a name means, and `--encoder-class tasb`.

Names that are not ours go through Pyserini's own function over Pyserini's own class map, so that nothing changes
for them, the options that Pyserini derives from a name included.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import sys
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.plugin.corpus_check import check_docids
from pyserini_tasb.plugin.names import CLASS_NAME, names_tasb, without_ours
from pyserini_tasb.plugin.search_options import check_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HELP = f"; `{CLASS_NAME}` (pyserini-tasb) reads any model as TAS-B, whatever its name"


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


def _short_errors(namespace: dict[str, Any]) -> None:
    """In a command, print a TasbError as its message alone: it says what to do, its traceback does not."""
    if namespace["__name__"] != "__main__":
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, TasbError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = hook
