"""Options that several verbs share: each is declared once, and means the same everywhere."""

from __future__ import annotations

import argparse


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


def add_allow_reversed_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-reversed`, for a verb that reads or makes a teacher's scores."""
    parser.add_argument(
        "--allow-reversed",
        action="store_true",
        help="go on where the teacher scores most negatives above their positives (are the columns swapped?)",
    )


def add_set_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the recipe's")


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def at_least_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number
