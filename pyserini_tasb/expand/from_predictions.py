"""A collection with predictions that somebody has published."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.encode.corpus.corpus import Corpus
from pyserini_tasb.encode.corpus.repeated_docids import RepeatedDocids
from pyserini_tasb.errors import TasbError
from pyserini_tasb.expand.expanded_passages import shard_path, write_shard
from pyserini_tasb.expand.predictions import read_predictions
from pyserini_tasb.texts.new_folder import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.expand.predictions import Prediction

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
