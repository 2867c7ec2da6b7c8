"""Arguments of `tasb export`, and the option of every verb that encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_encoding_verbs(verbs: Any, verb: Verb) -> None:
    """Add them to the tree; `verb` adds one with its name, `module:function` and summary."""
    _add_export(verb(verbs, "export", "pyserini_tasb.encode.export.command:run", "an encoder's model for ONNX Runtime"))


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
