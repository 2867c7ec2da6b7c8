"""The validation set: queries with candidates, which measure a model during training and decide when it stops."""

from __future__ import annotations

import functools
import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import read_manifest, values_explained
from pyserini_tasb.formats.arrays import open_array
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.run_files import read_run
from pyserini_tasb.formats.text_store import TextStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict


KIND, VERSION = "validation set", 1
QUERIES, PASSAGES = "queries", "passages"
OFFSETS, CANDIDATES = "offsets.npy", "candidates.npy"
QRELS, BASELINE = "qrels.txt", "baseline.txt"
QUERIES_SHOWN = 3


class ValidationSet:
    """A validation set (arXiv:2104.06967, Section 4.3). Wherever a path is taken, it stands for its folder.

    Attributes:
        folder: the folder.
        fingerprint: a text that changes when the content does.
        description: how the set was made, from its manifest: sources, sampling, counts, the baseline run's measures.
        queries: the queries' texts.
        passages: the passages' texts, each of them once.
        offsets: [queries + 1]; the candidates of query i are `candidates[offsets[i]:offsets[i + 1]]`.
        candidates: [n] indices of passages.

    Args:
        folder: the folder that `validation_set` wrote.

    Raises:
        TasbError: the folder is not a validation set, is damaged, or has a newer format.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder, KIND, VERSION)
        self.folder = folder
        with values_explained(folder):
            self.fingerprint: str = manifest["fingerprint"]
            self.description: dict[str, Any] = dict(manifest["description"])
        self.queries = TextStore(folder / QUERIES)
        self.passages = TextStore(folder / PASSAGES)
        self.offsets: NDArray[np.int64] = open_array(folder / OFFSETS, np.int64)
        self.candidates: NDArray[np.uint32] = open_array(folder / CANDIDATES, np.uint32)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"ValidationSet({str(self.folder)!r}, {len(self.queries):,} queries, {len(self.passages):,} passages)"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary)}</pre>"

    @property
    def summary(self) -> str:
        """The numbers of queries, passages and candidates, and the baseline's values, as lines of text."""
        with values_explained(self.folder):
            return self._summary()

    def _summary(self) -> str:
        what = self.description
        each = what["candidates"] / what["queries"]
        lines = [
            f"{self.folder}: {what['queries']:,} of {what['queries_usable']:,} queries, {what['passages']:,} passages",
            f"{each:.1f} candidates per query; {what['candidates_added']:,} relevant passages were not in the run",
        ]
        lines += [f"left out: {count:,} judged queries, {why}" for why, count in what["queries_left_out"].items()]
        if what["strata"]:
            strata = ", ".join(f"{stratum['sampled']:,} of {stratum['queries']:,}" for stratum in what["strata"])
            lines.append(f"strata by {what['options']['stratify_by']}, lowest first: {strata}")
        values = ", ".join(f"{measure} {value:.4f}" for measure, value in what["baseline"].items())
        lines.append(f"the baseline run on these queries: {values}")
        return "\n".join(lines)

    @functools.cached_property
    def qrels(self) -> QrelsDict:
        """The judgments of the candidates. Every relevant passage is a candidate."""
        return read_qrels(self.folder / QRELS)

    @functools.cached_property
    def baseline_run(self) -> RunDict:
        """The baseline run, cut to the hits that are candidates."""
        return read_run(self.folder / BASELINE)

    def baseline(self, measure: str = "nDCG@10") -> float:
        """The value of the baseline run on these queries.

        Raises:
            TasbError: the measure is misspelt, or cannot be computed on this machine.
        """
        return self._value(self.baseline_run, measure)

    def products(self, query_vectors: NDArray[np.float32], passage_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Dot products [candidates] of every candidate with its query, in the order of `candidates`.

        Args:
            query_vectors: [queries, dimension], in the order of `queries`.
            passage_vectors: [passages, dimension], in the order of `passages`.

        Raises:
            ValueError: vectors of another number of queries or passages.
        """
        if (len(query_vectors), len(passage_vectors)) != (len(self.queries), len(self.passages)):
            raise ValueError(
                f"expected vectors of {len(self.queries)} queries and {len(self.passages)} passages, found "
                f"{len(query_vectors)} and {len(passage_vectors)}"
            )
        bounds = zip(query_vectors, self.offsets[:-1], self.offsets[1:], strict=True)
        return np.concatenate([passage_vectors[self.candidates[start:end]] @ vector for vector, start, end in bounds])

    def measure(self, scores: NDArray[np.float32], measure: str = "nDCG@10") -> float:
        """The mean over queries of a measure, with the candidates ranked by scores, ties as in trec_eval.

        Args:
            scores: [candidates], in the order of `candidates`.
            measure: ir-measures' name of the measure.

        Returns:
            the mean; NaN if a score is not finite, because such a model has no ranking.

        Raises:
            TasbError: the measure is misspelt, or cannot be computed on this machine.
        """
        run = self.run(scores)
        return math.nan if run is None else self._value(run, measure)

    def run(self, scores: NDArray[np.float32]) -> RunDict | None:
        """The candidates with these scores; None if a score is not finite. `scores` is as in `measure`."""
        if not np.isfinite(scores).all():
            return None
        run: RunDict = {}
        for qid, start, end in zip(self._qids, self.offsets[:-1], self.offsets[1:], strict=True):
            docids = [self._docids[candidate] for candidate in self.candidates[start:end].tolist()]
            run[qid] = dict(zip(docids, scores[start:end].tolist(), strict=True))
        return run

    def _value(self, run: RunDict, measure: str) -> float:
        from pyserini_tasb.evaluation.measures import evaluate_run  # brings ir-measures

        (value,) = evaluate_run(run, self.qrels, [measure]).overall.values()
        return value

    @functools.cached_property
    def _qids(self) -> list[str]:
        return self.queries.ids(np.arange(len(self.queries)))

    @functools.cached_property
    def _docids(self) -> list[str]:
        return self.passages.ids(np.arange(len(self.passages)))


def overlap_warning(validation: TextStore, training: TextStore) -> str | None:
    """A warning, if queries of both have the same text but for case and white space; their ids do not count.

    Early stopping that looks at queries which are trained on flatters every evaluation.
    """
    held_out = {_plain_text(text) for _, text in validation}
    shared = {key: id_ for id_, text in training if (key := _plain_text(text)) in held_out}
    if not shared:
        return None
    shown = ", ".join(list(shared.values())[:QUERIES_SHOWN]) + (", …" if len(shared) > QUERIES_SHOWN else "")
    return (
        f"{len(shared):,} of {len(validation):,} validation queries are also trained on ({shown}): their values will "
        "be too high, and early stopping too late. `tasb validation-set` with the topics of another split avoids this."
    )


def _plain_text(text: str) -> str:
    return " ".join(text.casefold().split())
