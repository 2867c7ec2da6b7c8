"""Options that several verbs share: each is declared once, and means the same everywhere."""

from __future__ import annotations

import argparse


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """`--backend`, for a verb that encodes."""
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="The library that computes vectors: auto, torch, onnx, or module:name (default: "
        "$PYSERINI_TASB_BACKEND, or else the encoder card's).",
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """`--precision`, for a verb that encodes."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="The number format to compute in: this one, or a more accurate one (default: the encoder card's).",
    )


def add_allow_other_encoder_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-other-encoder`, for a verb that opens an index with a query encoder."""
    parser.add_argument(
        "--allow-other-encoder",
        action="store_true",
        help="Search with an encoder that the index does not list. The scores may mean nothing.",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """`--threads`, for a verb that searches."""
    parser.add_argument(
        "--threads",
        type=at_least_one,
        metavar="N",
        help="The number of threads (default: the cores that this process may use).",
    )


def add_remove_query_option(parser: argparse.ArgumentParser) -> None:
    """`--remove-query`, for a verb that makes or reads runs."""
    parser.add_argument(
        "--remove-query",
        action="store_true",
        help="Drop from a query's documents the one whose id is the query's. Use it where queries are documents of the "
        "corpus (ArguAna, Quora, CQADupStack). Do not use it where both are numbered independently (Cranfield).",
    )


def add_allow_reversed_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-reversed`, for a verb that reads or makes a teacher's scores."""
    parser.add_argument(
        "--allow-reversed",
        action="store_true",
        help="Go on although the teacher scores most negatives above their positives. Are the columns swapped?",
    )


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """`--set`, for a verb that reads a recipe."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Values that go before the recipe's, such as depth=100.",
    )


def at_least_one(text: str) -> int:
    """An option's whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def at_least_zero(text: str) -> int:
    """An option's whole number from 0 on."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number
