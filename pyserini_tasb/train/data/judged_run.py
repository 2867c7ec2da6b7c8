"""Pairs of the passages that qrels call relevant with those that a run ranks for the query and that are not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.line_files import FAULTS_SHOWN, columns_of, open_lines
from pyserini_tasb.evaluate.resolver import bundled_files, canonical_name, load_qrels, load_run
from pyserini_tasb.train.data.mining.negative_sampling import query_randomness, uniform
from pyserini_tasb.train.data.row_faults import RowFaults
from pyserini_tasb.train.store.row_spool import PairRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.resolver import Kind
    from pyserini_tasb.texts.text_lookup import TextLookup
    from pyserini_tasb.train.data.mining.false_negatives import NegativeGuard
    from pyserini_tasb.train.store.pair_store import Supervision


class JudgedRun:
    """Every relevant passage of a query with every negative of it. Qrels and run are read into memory.

    Args:
        qrels: a file, or a name that `tasb evaluate` knows.
        run: a file, or a bundled run's name; what it ranks and the qrels do not call relevant is a negative.
        relevant_grade: the lowest grade that is relevant.
        negatives_per_query: draw that many of a query's negatives uniformly; None takes all.
        seed: of the draw.
        skip_bad: count ids without text instead of refusing them.

    Attributes:
        relevant: qid → relevant docids with their grades.
        unpaired: queries of the run that give no pair: nothing is relevant, or everything ranked is.
        not_in_run: judged queries that the run lacks.
        without_negatives: judged queries for which the run ranks nothing that can be a negative.

    Raises:
        TasbError: qrels or run are not found, or are faulty.
    """

    supervision: Supervision = "labels"

    def __init__(
        self,
        qrels: str,
        run: str,
        *,
        relevant_grade: int = 1,
        negatives_per_query: int | None = None,
        seed: int = 0,
        skip_bad: bool = False,
    ) -> None:
        self.relevant = relevant_passages(qrels, relevant_grade)
        self._run = load_run(run)
        self._count, self._seed = negatives_per_query, seed
        self._of_qrels = IdFaults("qrels", qrels, skip=skip_bad)
        self._of_run = IdFaults("run", run, skip=skip_bad)
        self.unpaired = 0
        self.not_in_run = [qid for qid in self.relevant if not self._run.get(qid)]
        self.without_negatives: list[str] = []

    @property
    def faults(self) -> list[RowFaults]:
        """Of the qrels and of the run."""
        return [self._of_qrels.faults, self._of_run.faults]

    def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard | None = None) -> Iterator[PairRows]:
        """The pairs whose negatives `guard` keeps, query by query. A negative that it removes is not drawn.

        Raises:
            TasbError: once all pairs are made: a query or a passage has no text.
        """
        for qid, ranking in self._run.items():
            relevant = self.relevant.get(qid, {})
            negatives = [docid for docid in ranking if docid not in relevant]
            query = int(queries.indices([qid])[0]) if relevant and negatives else -1
            if guard and relevant:
                guard.judged += len(ranking) - len(negatives)
                if query >= 0:
                    negatives = _kept(query, negatives, passages, guard)
            if not relevant or not negatives:
                self.unpaired += 1
                if relevant and ranking:
                    self.without_negatives.append(qid)
                continue
            if query < 0:
                self._of_run.add(qid)
                continue
            positives = _with_text(qid, list(relevant), passages, self._of_qrels)
            drawn = _with_text(qid, self._draw(qid, negatives), passages, self._of_run)
            pairs = len(positives) * len(drawn)
            yield PairRows(
                np.full(pairs, query),
                np.repeat(positives, len(drawn)),
                np.tile(drawn, len(positives)),
                np.empty((pairs, 0), np.float32),
            )
        self._of_qrels.finish()
        self._of_run.finish()

    def _draw(self, qid: str, negatives: list[str]) -> list[str]:
        if self._count is None:
            return negatives
        places = uniform(np.zeros(len(negatives), np.float32), self._count, query_randomness(self._seed, qid))
        return [negatives[place] for place in places]


class IdFaults:
    """Ids of a TREC file that have no text; their lines are looked for once there are any.

    Args:
        kind: of the file.
        name: its path, or what `tasb evaluate` calls it.
        skip: count them instead of refusing the file.
    """

    def __init__(self, kind: Kind, name: str, *, skip: bool) -> None:
        path = Path(name).expanduser()
        self._path = path if path.is_file() else bundled_files(kind).get(canonical_name(name))
        self.faults = RowFaults(self._path or Path(name), expected=f"{kind} whose ids have texts", skip=skip)
        self._without_text: dict[tuple[str, str | None], None] = {}

    def add(self, qid: str, docid: str | None = None) -> None:
        """Note that a query, or a passage ranked or judged for it, has no text."""
        self._without_text[qid, docid] = None

    def finish(self) -> None:
        """Report what was added.

        Raises:
            TasbError: there was a fault.
        """
        first = list(self._without_text)[:FAULTS_SHOWN]
        lines = self._lines(first)
        found = [
            (lines.get(key, 0), f"query {qid} has no text" if docid is None else f"passage {docid} has no text")
            for key in first
            for qid, docid in [key]
        ]
        self.faults.add(found, len(self._without_text))
        self.faults.finish(rows=1)

    def _lines(self, wanted: list[tuple[str, str | None]]) -> dict[tuple[str, str | None], int]:
        lines: dict[tuple[str, str | None], int] = {}
        if wanted and self._path:
            with open_lines(self._path) as file:
                for number, line in enumerate(file, 1):
                    qid, _, docid, *_ = columns_of(line) or ("", "", "")
                    for key in {(qid, docid), (qid, None)}.intersection(wanted):
                        lines.setdefault(key, number)
        return lines


def relevant_passages(qrels: str, relevant_grade: int) -> dict[str, dict[str, int]]:
    """Relevant docids with their grades, by qid; queries without any are left out.

    Args:
        qrels: a file, or a name that `tasb evaluate` knows.
        relevant_grade: the lowest grade that is relevant.

    Raises:
        TasbError: no such qrels, or a faulty file.
    """
    # In place: the training qrels of MS MARCO take a quarter of a gigabyte.
    relevant = load_qrels(qrels)
    for qid, grades in list(relevant.items()):
        for docid in [docid for docid, grade in grades.items() if grade < relevant_grade]:
            del grades[docid]
        if not grades:
            del relevant[qid]
    return relevant


def _kept(query: int, negatives: list[str], passages: TextLookup, guard: NegativeGuard) -> list[str]:
    """Docids that the guard keeps, and docids without text."""
    indices = passages.indices(negatives)
    with_text = np.flatnonzero(indices >= 0)
    kept = np.ones(len(negatives), np.bool_)
    kept[with_text] = guard.keep(np.full(len(with_text), query), indices[with_text])
    return list(itertools.compress(negatives, kept))


def _with_text(qid: str, docids: list[str], passages: TextLookup, faults: IdFaults) -> NDArray[np.int64]:
    indices = passages.indices(docids)
    for place in np.flatnonzero(indices < 0).tolist():
        faults.add(qid, docids[place])
    return indices[indices >= 0]
