"""`tasb expand`: a collection to passages with predicted queries, for `pyserini.index.lucene`."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.artifacts import new_folder
from pyserini_tasb.encoding.plan import RepeatedDocids
from pyserini_tasb.errors import TasbError
from pyserini_tasb.expansion import from_model
from pyserini_tasb.expansion.from_model import Sampling, require_new, shard_path, write_shard
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.lines import LineFaults, open_lines, require_utf8
from pyserini_tasb.workers import INTERRUPTED, StopRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


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
        size = arguments.shard_size or SHARD_SIZE
        count = expand_with_predictions(arguments.corpus, paths, output, size)
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
        arguments.corpus,
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


# --------
# A collection with predictions that somebody has published.

SHARD_SIZE = 100_000


def expand_with_predictions(
    collection: str, predictions: Sequence[Path], output: Path, shard_size: int = SHARD_SIZE
) -> int:
    """Write every passage with its predicted queries; the number of passages.

    Args:
        collection: path of the passages.
        predictions: files of them, in the order of the passages.
        output: a new folder, which appears once it is complete.
        shard_size: passages of a file.

    Raises:
        TasbError: a faulty collection or predictions; more or fewer of these than passages, or of other passages; or
            the disk refuses. Then there is no folder.
    """
    corpus, docids = Corpus([collection]), RepeatedDocids()
    count = 0
    with new_folder(output) as folder:
        pairs = iter(tqdm(_paired(corpus, collection, predictions), desc="expanding", unit=" passages", disable=None))
        for number in itertools.count():
            shard = list(itertools.islice(pairs, shard_size))
            if not shard:
                break
            docids.add([docid for docid, _, _ in shard])
            count += write_shard(shard_path(folder, number), shard)
        docids.require_none(corpus, collection)
    return count


def _paired(corpus: Corpus, collection: str, paths: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    """Docid, text and queries of every passage."""
    passages, predictions = corpus.marked(), read_predictions(paths)
    for number in itertools.count():
        # Asked for both, so that each reader comes to its end and tells of its faults.
        passage, prediction = next(passages, None), next(predictions, None)
        if passage is None and prediction is None:
            return
        if passage is None or prediction is None:
            more_passages, more_predictions = (sum(1 for _ in rest) for rest in (passages, predictions))
            raise TasbError(
                where=", ".join(map(str, paths)),
                expected=f"{number + (passage is not None) + more_passages:,} predictions, "
                f"one for each passage of {collection}",
                found=f"{number + (prediction is not None) + more_predictions:,}",
                do="take the predictions of this very collection, all parts of them",
            )
        mark, docid, text = passage
        _require_same(docid, prediction, corpus.place(mark))
        yield docid, text, prediction.queries


def _require_same(docid: str, prediction: Prediction, place: str) -> None:
    if prediction.docid not in (None, docid):
        raise TasbError(
            where=prediction.place,
            expected=f"a prediction for {docid}, the passage at {place}",
            found=f"one for {prediction.docid}",
            do="bring the predictions into the order of the collection, one for each passage",
        )


# --------
# Predicted queries as docTTTTTquery's authors publish them, for the passages of a collection in its order.
#
# Two forms: text, a line of queries for each passage (of several files, samples of the same passages, the lines are
# joined, as `paste -d" "` does); and JSONL, `{"id": "0", "predicted_queries": ["…", "…"]}`, several files one after
# the
# other.

QUERIES = "predicted_queries"


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one passage.

    Args:
        place: `file:line`.
        docid: of the passage; None where the file does not say.
        queries: joined by spaces; empty if there are none.
    """

    place: str
    docid: str | None
    queries: str


def read_predictions(paths: Sequence[Path]) -> Iterator[Prediction]:
    """The predictions of all passages; whether the files are JSONL is seen from the first line.

    Raises:
        TasbError: a file cannot be read; once all are read, faulty lines, all named; text files of unequal length.
    """
    return _read_jsonl(paths) if _is_jsonl(paths[0]) else _read_text(paths)


def _is_jsonl(path: Path) -> bool:
    with open_lines(path) as lines:
        return next(iter(lines), "").startswith("{")


def _read_jsonl(paths: Sequence[Path]) -> Iterator[Prediction]:
    for path in paths:
        faults = LineFaults(path, expected=f'{{"id": …, "{QUERIES}": [query, …]}}')
        number = 0
        with open_lines(path) as lines:
            for number, line in enumerate(lines, 1):
                docid, queries = None, ""
                try:
                    require_utf8(line)
                    docid, queries = _parse(line)
                except ValueError as error:
                    faults.add(number, str(error))
                yield Prediction(f"{path}:{number}", docid, queries)
        faults.finish(records=number)


def _parse(line: str) -> tuple[str, str]:
    record = json.loads(line)  # its error is a ValueError
    if not isinstance(record, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004 - the line is wrong, not the caller
    docid, queries = record.get("id"), record.get(QUERIES)
    if isinstance(docid, bool) or not isinstance(docid, str | int):
        raise ValueError("no id: a string or an integer")  # noqa: TRY004
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"{QUERIES} is not a list of strings")
    return str(docid), _joined(queries)


def _read_text(paths: Sequence[Path]) -> Iterator[Prediction]:
    faults = [LineFaults(path, expected="a passage's predicted queries") for path in paths]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_lines(path)) for path in paths]
        counts = [0] * len(files)
        for number, lines in enumerate(itertools.zip_longest(*files), 1):
            for file, line in enumerate(lines):
                counts[file] += line is not None
                try:
                    require_utf8(line or "")
                except ValueError as error:
                    faults[file].add(number, str(error))
            yield Prediction(f"{paths[0]}:{number}", None, _joined(line or "" for line in lines))
    for path, of_file, count in zip(paths, faults, counts, strict=True):
        of_file.finish(records=count)
        if count != max(counts):
            longest = paths[counts.index(max(counts))]
            raise TasbError(
                where=str(path),
                expected=f"{max(counts):,} lines, as {longest} has",
                found=f"{count:,}",
                do="give samples of the same passages; parts of one sample are to be concatenated first",
            )


def _joined(queries: Iterator[str] | Sequence[str]) -> str:
    return " ".join(filter(None, (" ".join(query.split()) for query in queries)))
