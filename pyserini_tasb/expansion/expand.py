"""Expansion: passages with predicted queries (docT5query), as files that `pyserini.index.lucene` reads."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from pyserini_tasb.bars import hidden
from pyserini_tasb.encoding.plan import RepeatedDocids
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.expansion import from_model
from pyserini_tasb.expansion.from_model import Expansion, Sampling
from pyserini_tasb.expansion.predictions import Form, form_of_predictions, read_numbered, read_predictions
from pyserini_tasb.expansion.shards import FILES, QueryCounts, shard_path, write_shard
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.outputs import new_folder, require_new_folder
from pyserini_tasb.results import FileResult
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.expansion.predictions import Prediction
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)
SHARD_SIZE = 100_000


def expand(
    corpus: StrPath,
    *,
    output: StrPath,
    predictions: StrPath | Sequence[StrPath] | None = None,
    model: str | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    shard_size: int | None = None,
    samples: int | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    allow_bin: bool = False,
    queries_only: bool = False,
    overwrite: bool = False,
) -> ExpandedCorpus:
    """Add predicted queries to the passages of a corpus: published queries, or those of a model.

    Source: Nogueira and Lin, "From doc2query to docTTTTTquery" (2019).

    Args:
        corpus: TSV, JSONL, a Lucene index that stores texts, or a text store.
        output: a new folder of Pyserini's JSONL. It appears once it is complete.
        predictions: files of published queries: JSONL, a line for each passage, or lines of `docid TAB query`. Several
            files of lines are read side by side.
        model: the folder or hub id of a T5 or another sequence-to-sequence model, which predicts queries.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        shard_size: the number of passages in each file; by default 100,000, or 1,024 with `model`. With `model`, an
            interruption loses the passages of one file.
        samples: the number of queries for each passage, with `model`; by default 40.
        top_k: the number of most likely tokens from which the next one is drawn, with `model`; by default 10.
        seed: the random seed, with `model`; by default 0. On one machine, the same seed gives the same queries.
        device: the device, with `model`: `cpu`, `cuda:0`, …; by default a GPU, or else the CPU.
        allow_bin: true to accept weights in `pytorch_model.bin`, a pickle file, with `model`. Its code is not run.
        queries_only: write only the queries, with `model`: JSONL that `predictions` and `tasb.pseudo_queries` read.
        overwrite: replace expanded passages at `output`, once the new ones are complete.

    Returns:
        the folder, with the numbers of passages and queries.

    Raises:
        TasbError: the arguments contradict each other, the corpus or model does not exist, the predictions are not of
            this corpus, the folder has something else in it, or the output cannot be written.
        KeyboardInterrupt: the user stopped the call. With `model`, the files written so far are kept, and the same call
            continues.
    """
    folder = Path(output)
    # Anserini would index what else lies in the folder.
    require_new_folder(folder, overwrite=overwrite, inputs=[corpus, predictions, model], made=FILES)
    if (not predictions) == (model is None):
        raise TasbError(
            expected=f"{argument('predictions')} or {argument('model')}",
            found="neither" if model is None else "both",
            do="give one of them, from which the queries come",
        )
    named = Fields.named(fields, docid_field)
    if model is None:
        given = {
            "samples": samples,
            "top_k": top_k,
            "seed": seed,
            "device": device,
            "allow_bin": allow_bin or None,
            "queries_only": queries_only or None,
        }
        _require_none([name for name, value in given.items() if value is not None])
        files = [predictions] if isinstance(predictions, str | PathLike) else predictions or []
        paths = [Path(path) for path in files]
        size = shard_size or SHARD_SIZE
        counts = expand_with_predictions(fspath(corpus), paths, folder, size, named, overwrite=overwrite)
        return ExpandedCorpus(folder, counts.passages, counts, queries_only=False)
    chosen = {"samples": samples, "top_k": top_k, "seed": seed}
    expansion = Expansion(
        fspath(corpus),
        model,
        Sampling(**{name: value for name, value in chosen.items() if value is not None}),
        shard_size or from_model.SHARD_SIZE,
        device=device,
        allow_bin=allow_bin,
        fields=named,
        queries_only=queries_only,
    )
    with StopRequest() as stop:
        written = from_model.expand_with_model(expansion, folder, stop, overwrite=overwrite)
    if written is None:
        LOG.info("%s: interrupted; the same command continues where it stopped", output)
        raise stop.interruption()
    return ExpandedCorpus(folder, written.passages, written, queries_only=queries_only)


@dataclass(frozen=True)
class ExpandedCorpus(FileResult):
    """A folder of passages with predicted queries.

    Attributes:
        passages: the number of passages.
        queries: the numbers of queries that the passages got.
        queries_only: true if the folder has the queries without the passages.
    """

    passages: int
    queries: QueryCounts
    queries_only: bool

    @property
    def summary(self) -> str:
        """The numbers of passages and of queries, and the command that takes them."""
        if self.queries_only:
            return (
                f"{self.path}: predicted queries of {self.passages:,} passages: {self.queries}. To train with them:\n"
                f"    tasb pseudo-queries --corpus CORPUS --predictions {self.path} --output QUERIES"
            )
        return (
            f"{self.path}: {self.passages:,} passages with predicted queries: {self.queries}. To index them:\n"
            f"    python -m pyserini.index.lucene --collection JsonCollection --input {self.path} --index INDEX \\\n"
            "      --generator DefaultLuceneDocumentGenerator --threads 4"
        )


def _require_none(given: Sequence[str]) -> None:
    """Refuse arguments that only a model has."""
    if given:
        raise TasbError(
            expected=f"{argument('model')} with options of the prediction",
            found=f"{argument('predictions')} and {', '.join(f'{argument(name)}' for name in given)}",
            do=f"leave these out, or predict with {argument('model')}",
        )


def expand_with_predictions(
    collection: str,
    predictions: Sequence[Path],
    output: Path,
    shard_size: int = SHARD_SIZE,
    fields: Fields = Fields(),  # noqa: B008 - immutable
    *,
    overwrite: bool = False,
) -> QueryCounts:
    """Write every passage with its predicted queries; return the numbers of passages and queries.

    Args:
        collection: path of the passages.
        predictions: files of them, in the order of the passages.
        output: a new folder, which appears once it is complete.
        shard_size: passages of a file.
        fields: the fields of a passage's docid and text.
        overwrite: replace expanded passages at `output`.

    Raises:
        TasbError: a faulty collection or predictions; more or fewer of these than passages, or of other passages; or
            the disk refuses. Then there is no folder.
    """
    corpus, docids = Corpus([collection], fields), RepeatedDocids()
    form = form_of_predictions(predictions[0])
    counts = QueryCounts(unit=form.unit)
    paired = _paired_by_docid if form is Form.NUMBERED else _paired
    with new_folder(output, overwrite=overwrite, made=FILES) as folder:
        pairs = iter(
            tqdm(
                paired(corpus, collection, predictions, counts),
                desc="expanding",
                unit=" passages",
                disable=hidden(None),
            )
        )
        for number in itertools.count():
            shard = list(itertools.islice(pairs, shard_size))
            if not shard:
                break
            docids.add([docid for docid, _, _ in shard])
            write_shard(shard_path(folder, number), shard)
        docids.require_none(corpus, collection)
    return counts


def _paired(
    corpus: Corpus, collection: str, paths: Sequence[Path], counts: QueryCounts
) -> Iterator[tuple[str, str, str]]:
    """Docid, text and queries of every passage; the n-th prediction is of the n-th passage."""
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
                do="give the predictions of this collection, and all their parts",
            )
        mark, docid, text = passage
        _require_same(docid, prediction, corpus.place(mark))
        counts.add(prediction.count)
        yield docid, text, prediction.queries


def _require_same(docid: str, prediction: Prediction, place: str) -> None:
    if prediction.docid not in (None, docid):
        raise TasbError(
            where=prediction.place,
            expected=f"a prediction for {docid}, the passage at {place}",
            found=f"one for {prediction.docid}",
            do="sort the predictions in the order of the collection, one for each passage",
        )


def _paired_by_docid(
    corpus: Corpus, collection: str, paths: Sequence[Path], counts: QueryCounts
) -> Iterator[tuple[str, str, str]]:
    """The same, where each line says of which passage it is: a passage may have none."""
    files = [read_numbered(path) for path in paths]
    waiting = [next(file, None) for file in files]
    for _, docid, text in corpus.marked():
        queries, count = [], 0
        for number, prediction in enumerate(waiting):
            if prediction is not None and prediction.docid == docid:
                queries.append(prediction.queries)
                count += prediction.count
                waiting[number] = next(files[number], None)
        counts.add(count)
        yield docid, text, " ".join(filter(None, queries))
    for prediction in waiting:
        if prediction is not None:
            raise TasbError(
                where=prediction.place,
                expected=f"the docid of its passage in front of each query, in the order of {collection}",
                found=f"{prediction.docid}, which is not in the collection, or is out of order",
                do="write the docids in the order of the collection; or one line of queries for each passage, "
                "without numbers",
            )
