"""Expansion: passages with predicted queries (docT5query), as files that `pyserini.index.lucene` reads."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from pyserini_tasb.artifacts import new_folder
from pyserini_tasb.encoding.plan import RepeatedDocids
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.expansion import from_model
from pyserini_tasb.expansion.from_model import Expansion, Sampling
from pyserini_tasb.expansion.shards import require_new, shard_path, write_shard
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.lines import LineFaults, open_lines, require_utf8
from pyserini_tasb.results import FileResult
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)
SHARD_SIZE = 100_000


def expand(
    corpus: StrPath,
    *,
    output: StrPath,
    predictions: StrPath | Sequence[StrPath] | None = None,
    model: str | None = None,
    shard_size: int | None = None,
    samples: int | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    allow_bin: bool = False,
) -> ExpandedCorpus:
    """Add predicted queries to the passages of a corpus: published ones, or those of a model.

    Nogueira and Lin, "From doc2query to docTTTTTquery" (2019).

    Args:
        corpus: TSV, JSONL, a Lucene index that stores texts, or a text store.
        output: a new folder of Pyserini's JSONL; it appears once it is complete.
        predictions: published queries, a line for each passage, or JSONL; several text files are side by side.
        model: folder or hub id of a T5, or of any other sequence-to-sequence model, that predicts queries.
        shard_size: passages of a file; by default 100,000, with `model` 1,024, which is what an interruption loses.
        samples: with `model`, queries of each passage; by default 40.
        top_k: with `model`, most likely tokens among which the next one is drawn; by default 10.
        seed: with `model`, the same seed draws the same queries, on the same machine; by default 0.
        device: with `model`, `cpu`, `cuda:0`, …; by default a GPU if there is one.
        allow_bin: with `model`, accept weights in `pytorch_model.bin`, a pickle; no code in it is run.

    Returns:
        the folder, and how many passages are in it.

    Raises:
        TasbError: arguments that cannot be, no such corpus or model, predictions that do not fit, a folder of
            something else, or the disk refuses.
        KeyboardInterrupt: with `model`, the files written so far are kept: the same call goes on.
    """
    folder = Path(output)
    require_new(folder)
    if (predictions is None) == (model is None):
        raise TasbError(
            expected=f"{argument('predictions')} or {argument('model')}",
            found="neither" if model is None else "both",
            do="say where the queries come from",
        )
    if model is None:
        given = {"samples": samples, "top_k": top_k, "seed": seed, "device": device, "allow_bin": allow_bin or None}
        _require_none([name for name, value in given.items() if value is not None])
        files = [predictions] if isinstance(predictions, str | PathLike) else predictions or []
        paths = [Path(path) for path in files]
        count = expand_with_predictions(fspath(corpus), paths, folder, shard_size or SHARD_SIZE)
        return ExpandedCorpus(folder, count)
    chosen = {"samples": samples, "top_k": top_k, "seed": seed}
    expansion = Expansion(
        fspath(corpus),
        model,
        Sampling(**{name: value for name, value in chosen.items() if value is not None}),
        shard_size or from_model.SHARD_SIZE,
        device=device,
        allow_bin=allow_bin,
    )
    with StopRequest() as stop:
        written = from_model.expand_with_model(expansion, folder, stop)
    if written is None:
        LOG.info("%s: interrupted; the same command goes on where it stopped", output)
        raise stop.interruption()
    return ExpandedCorpus(folder, written)


@dataclass(frozen=True)
class ExpandedCorpus(FileResult):
    """A folder of passages with predicted queries.

    Attributes:
        passages: how many there are.
    """

    passages: int

    @property
    def summary(self) -> str:
        """The number of passages, and the command that indexes them."""
        return (
            f"{self.path}: {self.passages:,} passages with predicted queries. To index them:\n"
            f"    python -m pyserini.index.lucene --collection JsonCollection --input {self.path} --index INDEX \\\n"
            "      --generator DefaultLuceneDocumentGenerator --threads 4"
        )


def _require_none(given: Sequence[str]) -> None:
    """Refuse arguments that only a model has."""
    if given:
        raise TasbError(
            expected=f"{argument('model')} beside what says how it predicts",
            found=f"{argument('predictions')} and {', '.join(f'{argument(name)}' for name in given)}",
            do=f"leave these out, or predict with {argument('model')}",
        )


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
    """The predictions of all passages, as docTTTTTquery's authors publish them.

    Two forms: text, a line of queries for each passage (of several files, samples of the same passages, the lines are
    joined, as `paste -d" "` does); and JSONL, `{"id": "0", "predicted_queries": ["…", "…"]}`, several files one after
    the other. Which one it is, is seen from the first line.

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
