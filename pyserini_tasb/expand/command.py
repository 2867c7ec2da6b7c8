"""`tasb expand`: a collection to passages with predicted queries, for `pyserini.index.lucene`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.expand import from_model, from_predictions
from pyserini_tasb.expand.expanded_passages import require_new
from pyserini_tasb.expand.sampling import Sampling
from pyserini_tasb.interruption import INTERRUPTED, StopRequest

if TYPE_CHECKING:
    import argparse

_WITH_MODEL = ("samples", "top_k", "seed", "device")


def run(arguments: argparse.Namespace) -> int:
    """Make the folder `arguments.output`; 0, or 130 if it was interrupted and can go on.

    Raises:
        TasbError: options that cannot be, no such collection or model, predictions that do not fit, a folder of
            something else, or the disk refuses.
    """
    output = Path(arguments.output)
    require_new(output)
    if arguments.predictions:
        _require_no_model_options(arguments)
        paths = [Path(path) for path in arguments.predictions]
        size = arguments.shard_size or from_predictions.SHARD_SIZE
        count = from_predictions.expand_with_predictions(arguments.collection, paths, output, size)
    else:
        with StopRequest() as stop:
            written = from_model.expand_with_model(_expansion(arguments), output, stop)
        if written is None:
            print(f"{output}: interrupted; the same command goes on where it stopped")
            return INTERRUPTED
        count = written
    print(f"{output}: {count:,} passages with predicted queries. To index them:")
    print(f"    python -m pyserini.index.lucene --collection JsonCollection --input {output} --index INDEX \\")
    print("      --generator DefaultLuceneDocumentGenerator --threads 4")
    return 0


def _expansion(arguments: argparse.Namespace) -> from_model.Expansion:
    chosen = {name: getattr(arguments, name) for name in ("samples", "top_k", "seed")}
    return from_model.Expansion(
        arguments.collection,
        arguments.model,
        Sampling(**{name: value for name, value in chosen.items() if value is not None}),
        arguments.shard_size or from_model.SHARD_SIZE,
        device=arguments.device,
        allow_bin=arguments.allow_bin,
    )


def _require_no_model_options(arguments: argparse.Namespace) -> None:
    given = [name for name in _WITH_MODEL if getattr(arguments, name) is not None]
    given += ["allow_bin"] if arguments.allow_bin else []
    if given:
        raise TasbError(
            expected="--model beside what says how it predicts",
            found=f"--predictions and {', '.join('--' + name.replace('_', '-') for name in given)}",
            do="leave these out, or predict with --model",
        )
