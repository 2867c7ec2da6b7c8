"""Sources of pairs: TSV files with ids, TSV files with texts, or qrels and a run."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.false_negatives import same_texts
from pyserini_tasb.data.negatives import query_randomness, uniform
from pyserini_tasb.data.pair_builder import PairRows
from pyserini_tasb.data.rows import FIX_OR_SKIP, RowFaults, first_row, read_rows
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.lines import FAULTS_SHOWN, is_id_name, open_lines, split_columns
from pyserini_tasb.formats.named import as_qrels, bundled_files, canonical_name, load_run
from pyserini_tasb.formats.run import as_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.data.false_negatives import NegativeGuard
    from pyserini_tasb.data.pair_store import Supervision
    from pyserini_tasb.data.rows import RowChunk
    from pyserini_tasb.formats.named import AnyQrels, Kind
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.text_store import TextLookup, TextStoreWriter


@dataclass(frozen=True)
class PairFormat:
    """The columns of a file of pairs.

    Args:
        columns: their names; the last three are ids, those before them numbers.
        supervision: what they say of a pair.
    """

    columns: tuple[str, ...]
    supervision: Supervision

    def __str__(self) -> str:
        return " TAB ".join(self.columns)


IDS = ("qid", "pos_pid", "neg_pid")
FORMATS = (
    PairFormat(("pos_score", "neg_score", *IDS), "scores"),
    PairFormat(("margin", *IDS), "margins"),
    PairFormat(IDS, "labels"),
)


class IdPairs:
    """Files of pairs, all in the format that the first row of the first file shows.

    Args:
        paths: the files, plain or gzip.
        skip_bad: count faulty rows instead of refusing them.
        advice: what to do about faulty rows.

    Attributes:
        format: the format of all files.
        supervision: what they say of a pair.
        faults: the faults of each file, complete once `rows` is read.

    Raises:
        TasbError: the first file's first row is of no known format.
    """

    def __init__(self, paths: Sequence[Path], *, skip_bad: bool, advice: str = FIX_OR_SKIP) -> None:
        self.paths = paths
        self.format = _detected_format(paths[0])
        self.supervision: Supervision = self.format.supervision
        self.faults = [RowFaults(path, expected=str(self.format), skip=skip_bad, advice=advice) for path in paths]

    def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard | None = None) -> Iterator[PairRows]:
        """The pairs whose negatives `guard` keeps, in chunks.

        Raises:
            TasbError: rows that are not of the format, with an id that has no text, or with one passage on both sides.
        """
        numbers = len(self.format.columns) - len(IDS)
        for path, faults in zip(self.paths, self.faults, strict=True):
            for chunk in read_rows(path, numbers=numbers, strings=len(IDS), faults=faults, is_header=_names_ids):
                rows = _with_texts(chunk, queries, passages, faults)
                yield rows.only(guard.keep(rows.queries, rows.negatives)) if guard else rows


def _names_ids(columns: list[str]) -> bool:
    return all(map(is_id_name, columns[-len(IDS) :]))


def _detected_format(path: Path) -> PairFormat:
    columns = len(first_row(path))
    for format_ in FORMATS:
        if len(format_.columns) == columns:
            return format_
    raise TasbError(
        where=f"{path}:1",
        expected="a row of " + ", or ".join(map(str, FORMATS)),
        found=f"{columns} column{'' if columns == 1 else 's'} between tabs" if columns else "an empty file",
        do=f"check that this is a file of pairs by ids; pairs by texts go with `tasb pairs {argument('triples')}`",
    )


def _with_texts(chunk: RowChunk, queries: TextLookup, passages: TextLookup, faults: RowFaults) -> PairRows:
    lookups = (queries, passages, passages)
    indices = np.stack([lookup.indices(ids) for lookup, ids in zip(lookups, chunk.columns, strict=True)])
    good = (indices >= 0).all(axis=0) & (indices[1] != indices[2])
    if not good.all():
        bad = np.flatnonzero(~good)
        found = []
        for row in bad[:FAULTS_SHOWN].tolist():
            without_text = indices[:, row] < 0
            column = int(np.argmax(without_text)) if without_text.any() else 1
            name = f"{'passage' if column else 'query'} {chunk.columns[column].string(row)}"
            wrong = "has no text" if without_text.any() else "is the positive and the negative"
            found.append((int(chunk.lines[row]), f"{name} {wrong}"))
        faults.add(found, len(bad), up_to=int(chunk.lines[-1]))
        indices = indices[:, good]
    query, positive, negative = indices
    return PairRows(query, positive, negative, chunk.numbers[good])


TEXTS = ("query", "positive", "negative")
SCORES = ("pos_score", "neg_score")
_QUERIES = {"query", "question", "anchor", "query_text"}  # names of a triple's first column
SUPERVISION: dict[int, Supervision] = {len(TEXTS): "labels", len(SCORES + TEXTS): "scores"}


def _names_texts(columns: list[str]) -> bool:
    if len(columns) < len(TEXTS):
        return False
    query, positive, negative = (name.strip().lower() for name in columns[-len(TEXTS) :])
    words = len(f"{positive} {negative}".split())
    return query in _QUERIES and words == 2 and positive.startswith("pos") and negative.startswith("neg")


class TextTriples:
    """A file of text triples.

    Args:
        path: the file, plain or gzip.
        skip_bad: count faulty rows instead of refusing them.
        keep_query: keep a negative that has the query's text.

    Attributes:
        columns: what the first row shows.
        supervision: what they say of a pair.
        faults: the faults of the file, in a list, complete once `rows` is read.
        query_itself: rows left out because the negative has the query's text; filled while `rows` is read.

    Raises:
        TasbError: the first row has another number of columns.
    """

    def __init__(self, path: Path, *, skip_bad: bool, keep_query: bool = False) -> None:
        self.path, self._keep_query = path, keep_query
        self.query_itself = 0
        found = len(first_row(path))
        if found not in SUPERVISION:
            raise TasbError(
                where=f"{path}:1",
                expected=f"a row of {' TAB '.join(TEXTS)}, or of {' TAB '.join(SCORES + TEXTS)}",
                found=f"{found} column{'' if found == 1 else 's'} between tabs" if found else "an empty file",
                do=f"check that this is a file of text triples; pairs by ids go with {argument('scored_pairs')}",
            )
        self.columns = (SCORES + TEXTS)[-found:]
        self.supervision = SUPERVISION[found]
        self.faults = [RowFaults(path, expected=" TAB ".join(self.columns), skip=skip_bad)]

    def rows(self, queries: TextPool, passages: TextPool) -> Iterator[PairRows]:
        """The pairs, in chunks; their texts go into the pools.

        Raises:
            TasbError: rows that are not of the format, not UTF-8, or whose positive and negative have the same text.
        """
        numbers = len(self.columns) - len(TEXTS)
        for chunk in read_rows(
            self.path, numbers=numbers, strings=len(TEXTS), faults=self.faults[0], is_header=_names_texts
        ):
            texts, good = self._texts(chunk)
            query_texts, positive_texts, negative_texts = texts
            indices = passages.add(positive_texts + negative_texts)
            positives, negatives = np.split(indices, 2)
            yield PairRows(queries.add(query_texts), positives, negatives, chunk.numbers[good])

    def _texts(self, chunk: RowChunk) -> tuple[list[list[bytes]], list[int]]:
        """The three columns of the rows that are right and stay, and which rows these are."""
        queries, positives, negatives = chunk.columns
        same = same_texts(positives, negatives).tolist()
        is_query = [False] * len(same) if self._keep_query else same_texts(queries, negatives).tolist()
        columns: list[list[bytes]] = [[], [], []]
        good, found = [], []
        for row, fields in enumerate(zip(*(span.strings() for span in chunk.columns), strict=True)):
            try:
                texts = [field.decode().strip().encode() for field in fields]
            except UnicodeDecodeError:
                found.append((int(chunk.lines[row]), "not UTF-8"))
                continue
            if not all(texts):
                found.append((int(chunk.lines[row]), "an empty text"))
                continue
            if same[row]:
                found.append((int(chunk.lines[row]), "positive and negative have the same text"))
                continue
            if is_query[row]:
                self.query_itself += 1
                continue
            good.append(row)
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
        if found:
            self.faults[0].add(found[:FAULTS_SHOWN], len(found), up_to=int(chunk.lines[-1]))
        return columns, good


# So many texts are kept in a dict, which is quick to change; the others are in arrays, which are small.
RECENT = 1 << 20
_DIGESTS = np.dtype([("high", ">u8"), ("low", ">u8")])


class TextPool:
    """Numbers texts in the order of their first appearance.

    Memory: 24 bytes for each distinct text, and about 150 MB for the last million.

    Args:
        writer: gets each text the first time, under the hexadecimal BLAKE2b digest (128 bits) of its UTF-8.
    """

    def __init__(self, writer: TextStoreWriter) -> None:
        self._writer = writer
        self._recent: dict[bytes, int] = {}
        self._high, self._low = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._indices = np.zeros(0, np.int64)

    def add(self, texts: Sequence[bytes]) -> NDArray[np.int64]:
        """The index of each text."""
        digests = [blake2b(text, digest_size=16).digest() for text in texts]
        indices = self._find(digests)
        new: dict[bytes, bytes] = {}
        for row in np.flatnonzero(indices < 0).tolist():
            digest = digests[row]
            index = self._recent.setdefault(digest, self._writer.records + len(new))
            if index == self._writer.records + len(new):
                new[digest] = texts[row]
            indices[row] = index
        self._writer.add([digest.hex().encode() for digest in new], list(new.values()))
        if len(self._recent) > RECENT:
            self._settle()
        return indices

    def _find(self, digests: list[bytes]) -> NDArray[np.int64]:
        """Indices among the texts that are not recent, else -1."""
        if not len(self._high):
            return np.full(len(digests), -1)
        wanted = np.frombuffer(b"".join(digests), _DIGESTS)
        places = np.minimum(np.searchsorted(self._high, wanted["high"]), len(self._high) - 1)
        same = (self._high[places] == wanted["high"]) & (self._low[places] == wanted["low"])
        return np.where(same, self._indices[places], -1)

    def _settle(self) -> None:
        """Move the recent texts into the sorted arrays, which are smaller and dearer to change than a dict."""
        recent = np.frombuffer(b"".join(self._recent), _DIGESTS)
        high = np.concatenate((self._high, recent["high"].astype(np.uint64)))
        order = np.argsort(high)
        self._high = high[order]
        self._low = np.concatenate((self._low, recent["low"].astype(np.uint64)))[order]
        added = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        self._indices = np.concatenate((self._indices, added))[order]
        self._recent = {}


class JudgedRun:
    """Every relevant passage of a query with every negative of it. Qrels and run are read into memory.

    Args:
        qrels: judgments.
        run: what it ranks and the qrels do not call relevant is a negative.
        min_relevance: the lowest grade that is relevant.
        negatives_per_query: draw that many of a query's negatives uniformly; None takes all.
        seed: the seed of the draw.
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
        qrels: AnyQrels,
        run: AnyRun,
        *,
        min_relevance: int = 1,
        negatives_per_query: int | None = None,
        seed: int = 0,
        skip_bad: bool = False,
    ) -> None:
        self.relevant = relevant_passages(qrels, min_relevance)
        self._run = as_run_dict(run)
        self._count, self._seed = negatives_per_query, seed
        self._of_qrels = IdFaults("qrels", qrels, skip=skip_bad)
        self._of_run = IdFaults("run", run, skip=skip_bad)
        self.unpaired = 0
        self.not_in_run = [qid for qid in self.relevant if not self._run.get(qid)]
        self.without_negatives: list[str] = []

    @property
    def faults(self) -> list[RowFaults]:
        """The faults of the qrels and of the run."""
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
        kind: what the file holds.
        given: its path or name; or what it would hold, which has no lines.
        skip: count them instead of refusing the file.
    """

    def __init__(self, kind: Kind, given: AnyQrels | AnyRun, *, skip: bool) -> None:
        name = os.fspath(given) if isinstance(given, str | os.PathLike) else kind
        path = at_home(name)
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
                    qid, _, docid, *_ = split_columns(line) or ("", "", "")
                    for key in {(qid, docid), (qid, None)}.intersection(wanted):
                        lines.setdefault(key, number)
        return lines


def relevant_passages(qrels: AnyQrels, min_relevance: int) -> dict[str, dict[str, int]]:
    """Relevant docids with their grades, by qid; queries without any are left out.

    Args:
        qrels: judgments.
        min_relevance: the lowest grade that is relevant.

    Raises:
        TasbError: no such qrels, or a faulty file.
    """
    # In place: the training qrels of MS MARCO take a quarter of a gigabyte.
    relevant = as_qrels(qrels)
    for qid, grades in list(relevant.items()):
        for docid in [docid for docid, grade in grades.items() if grade < min_relevance]:
            del grades[docid]
        if not grades:
            del relevant[qid]
    return relevant


def as_run_dict(run: AnyRun) -> RunDict:
    """A run as dictionaries: each query's documents in the order of the file, or of what was handed over."""
    return (
        load_run(run if isinstance(run, str) else Path(run))
        if isinstance(run, str | os.PathLike)
        else as_run(run).to_dict()
    )


def source_name(given: object) -> str:
    """The name or path of what a verb was given, for descriptions; `in memory` if it was handed over as an object."""
    return os.fspath(given) if isinstance(given, str | os.PathLike) else "in memory"


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
