"""Options that several verbs share: each is declared once, and means the same everywhere."""

from __future__ import annotations

import argparse

# Help texts of options that verbs declare themselves: some verbs require them, others have other defaults.
CORPUS = (
    "The corpus: a TSV or JSONL file, a folder of such files, a Lucene index that stores text, a text store, or "
    "READER:PATH (docs/extend.md)."
)
TOPICS = (
    "The queries: a name, such as dl19-passage, a TSV or JSONL file of ids and texts, or READER:PATH (docs/extend.md)."
)
QRELS = "The judgments: a name, such as dl19-passage, or a file in TREC's format or in BEIR's."
OUTPUT_RUN = "A new file for the run, compressed with gzip if its name ends in .gz; - is standard output."
DEVICE = "The device that computes: cpu, cuda:0, … (default: %(default)s)."
DEVICE_OR_GPU = "The device that computes: cpu, cuda:0, … (default: a GPU, or else cpu)."
ALLOW_BIN = "Accept weights in pytorch_model.bin, a pickle file. Its code is not run."
RECIPE = "The fusion: a name, such as tasb+bm25, or the path of a YAML file (fusion/README.md)."


def add_output_format_option(parser: argparse.ArgumentParser) -> None:
    """`--output-format`, for a verb that writes a run."""
    parser.add_argument(
        "--output-format",
        choices=("trec", "msmarco"),
        default="trec",
        help="The format of the file. MS MARCO's has neither scores nor a tag (default: %(default)s).",
    )


def add_batch_size_option(parser: argparse.ArgumentParser) -> None:
    """`--batch-size`, for a verb that searches."""
    parser.add_argument(
        "--batch-size",
        type=at_least_one,
        default=64,
        metavar="N",
        help="Search for N queries at a time (default: %(default)s).",
    )


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """`--backend`, for a verb that encodes."""
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="The back end that computes vectors: auto, torch, onnx, or your own as module:name (default: "
        "$PYSERINI_TASB_BACKEND, or else the encoder card's).",
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """`--precision`, for a verb that encodes."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="Compute in this number format, or in a more accurate one (default: the encoder card's).",
    )


def add_allow_other_encoder_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-other-encoder`, for a verb that opens an index with a query encoder."""
    parser.add_argument(
        "--allow-other-encoder",
        action="store_true",
        help="Search with an encoder that the index does not list. The scores may be meaningless.",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """`--threads`, for a verb that searches."""
    parser.add_argument(
        "--threads",
        type=at_least_one,
        metavar="N",
        help="Use N threads (default: $OMP_NUM_THREADS, or the cores that this process may use).",
    )


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """`--search-with` and `--search-precision`, for a verb that searches folders of vectors."""
    parser.add_argument(
        "--search-with",
        choices=("auto", "faiss", "torch"),
        default="auto",
        help="What searches vectors: faiss, or torch, which takes flat Faiss indexes and vector folders. auto takes "
        "torch for vector folders, and for flat indexes that fit on the GPU, or if Faiss is missing (default: "
        "%(default)s).",
    )
    parser.add_argument(
        "--search-precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="The number format of torch's search. bf16 and fp16 take half of the memory, and may miss hits at the end "
        "of a list (default: %(default)s).",
    )


def add_ray_options(parser: argparse.ArgumentParser, work: str) -> None:
    """`--ray` and what each of its actors takes, for a verb whose function takes them."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"{work} on a Ray cluster: auto (the one that this machine is a node of) or HOST:PORT. local starts Ray "
        "on this machine. See docs/ray.md.",
    )
    parser.add_argument(
        "--ray-cpus",
        type=int,
        metavar="N",
        help="Give each actor of --ray N CPUs, and as many threads (default: $OMP_NUM_THREADS, or one actor for "
        "each node, with its CPUs).",
    )
    parser.add_argument(
        "--ray-gpus",
        type=float,
        metavar="N",
        help="Give each actor of --ray N GPUs; 0.5 lets two actors share one (default: 1 if the cluster has GPUs).",
    )


def add_fields_options(parser: argparse.ArgumentParser, corpus: str = "--corpus") -> None:
    """`--fields` and `--docid-field`, for a verb that reads a corpus by the option `corpus`."""
    parser.add_argument(
        "--fields",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD",
        help=f"The fields of {corpus} that form a passage's text, joined by spaces: fields of JSON, or columns of a "
        "TSV with a header (default: title and text, or contents).",
    )
    parser.add_argument(
        "--docid-field",
        metavar="FIELD",
        help=f"The field of {corpus} that has the docid (default: id, _id or docid, or a TSV's first column).",
    )


def add_remove_query_option(parser: argparse._ActionsContainer) -> None:
    """`--remove-query`, for a verb that makes or reads runs."""
    parser.add_argument(
        "--remove-query",
        action="store_true",
        help="Drop the document whose id is the query's id. Use it where queries are documents of the corpus "
        "(ArguAna, Quora, CQADupStack). Do not use it where both are numbered independently (Cranfield).",
    )


def add_allow_reversed_option(parser: argparse._ActionsContainer) -> None:
    """`--allow-reversed`, for a verb that reads or makes a teacher's scores."""
    parser.add_argument(
        "--allow-reversed",
        action="store_true",
        help="Continue although the teacher scores most negatives above their positives. Check first that no columns "
        "are swapped.",
    )


def add_overwrite_option(parser: argparse.ArgumentParser, what: str = "--output") -> None:
    """`--overwrite`, for a verb that does not replace files by default."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help=f"Replace what exists at {what} once the new output is complete (default: stop with an error).",
    )


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """`--set`, for a verb that reads a recipe."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Replace values of the recipe, such as depth=100.",
    )


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def at_least_zero(text: str) -> int:
    """A whole number of 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number
