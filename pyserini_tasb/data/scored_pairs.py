"""The pairs to score and their scores on disk while there are not all of them yet."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pyserini_tasb.artifacts import read_sidecar, whole_text_file, write_whole
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.formats.text_store import TextLookup

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_sources import IdPairs
    from pyserini_tasb.formats.text_store import Texts, TextStore
    from pyserini_tasb.reranking.scorers import PairScorer, ScoringOptions


# As many as a cross-encoder sorts by length together: on a CPU these are minutes, on a GPU a few seconds.
PAIRS_PER_WINDOW = 8_192
ROWS_AT_ONCE = 65_536
QUERY_BITS = 32  # a store numbers its texts with as many
SCORE = np.dtype("<f4")

Origin: TypeAlias = dict[str, dict[str, str]]
"""model, collection, queries, pairs, options → `name`, as people call it, and `digest`, which says what it holds."""

TEXTS = ("collection", "queries")


def score_windows(scorer: PairScorer, queries: Texts, passages: Texts, table: PairTable, part: ScorePart) -> None:
    """Score the distinct pairs that the part lacks, window by window; each is on the disk before the next begins.

    Windows are cut in the same places whenever it is called: what is padded and multiplied together can change the
    last bits of a score.

    Args:
        scorer: the model.
        queries: texts of the table's queries.
        passages: texts of its passages.
        table: the pairs.
        part: gets the scores.

    Raises:
        TasbError: a score is not finite, or the disk refuses.
    """
    from tqdm.auto import tqdm

    total = len(table.distinct)
    with tqdm(total=total, initial=part.count, desc="score", unit=" pairs", mininterval=1.0) as progress:
        while part.count < total:
            window = slice(part.count, min(part.count + PAIRS_PER_WINDOW, total))
            scores = scorer.score_pairs(queries, passages, table.query_rows(window), table.passage_rows(window))
            _require_finite(scores, window.start, table)
            part.append(scores)
            progress.update(len(scores))


def _require_finite(scores: NDArray[np.float32], start: int, table: PairTable) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        qid, docid = table.ids(start + int(wrong[0]))
        raise TasbError(
            expected="scores that are finite numbers",
            found=f"{scores[wrong[0]]} for query {qid}, passage {docid}; {len(wrong)} such among {len(scores)} scores",
            do=f"use {argument('precision', 'fp32')}; if it was fp32, the model's weights are damaged",
        )


@dataclass(frozen=True)
class Margins:
    """The positives' scores less the negatives'.

    Args:
        mean: over all rows.
        deviation: standard deviation over all rows.
        agreement: with the rows' labels.
    """

    mean: float
    deviation: float
    agreement: Agreement


class PairTable:
    """Rows of (query, positive, negative) in the files' order. Some 50 bytes of memory a row while they are read.

    Args:
        pairs: the files.
        queries: the queries' texts.
        passages: the passages' texts.

    Attributes:
        rows: uint64 [rows, 2] of each row (query, positive) and (query, negative), each as one number.
        distinct: uint64 [distinct] those that occur, sorted by passage, then query.

    Raises:
        TasbError: faulty rows, or ids without text; all are named.
    """

    def __init__(self, pairs: IdPairs, queries: TextStore, passages: TextStore) -> None:
        self._queries, self._passages = queries, passages
        chunks = [
            _keys(rows.queries, np.stack([rows.positives, rows.negatives]))
            for rows in pairs.rows(TextLookup(queries), TextLookup(passages))
        ]
        self.rows: NDArray[np.uint64] = np.concatenate(chunks)
        self.distinct: NDArray[np.uint64] = np.unique(self.rows)

    def query_rows(self, window: slice) -> NDArray[np.int64]:
        """[window] indices of the distinct pairs' queries."""
        return _query_rows(self.distinct[window])

    def passage_rows(self, window: slice) -> NDArray[np.int64]:
        """[window] indices of the distinct pairs' passages."""
        return _passage_rows(self.distinct[window])

    def ids(self, pair: int) -> tuple[str, str]:
        """The ids of a distinct pair's query and passage."""
        one = slice(pair, pair + 1)
        return self._queries.ids(self.query_rows(one))[0], self._passages.ids(self.passage_rows(one))[0]

    def digest(self) -> str:
        """A digest of the distinct pairs. They are numbers of texts: compare it where the texts are the same only."""
        return hashlib.sha256(self.distinct.data).hexdigest()

    def write(self, path: Path, scores: NDArray[np.float32], check: Callable[[Agreement], None]) -> Margins:
        """Write `pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid` for each row.

        Scores have the fewest digits that read back as the same float32.

        Args:
            path: the file; it is there only once it is whole.
            scores: [distinct] of the distinct pairs.
            check: is called with the agreement before the file is put in place; an error from it leaves no file.

        Raises:
            TasbError: the file cannot be written.
        """
        from tqdm.auto import tqdm

        mean = squares = 0.0
        agreement = Agreement()
        with whole_text_file(path) as file, tqdm(total=len(self.rows), desc=f"write {path.name}", unit=" rows") as bar:
            for start in range(0, len(self.rows), ROWS_AT_ONCE):
                keys = self.rows[start : start + ROWS_AT_ONCE]
                found = scores[np.searchsorted(self.distinct, keys)]
                upper, lower = ([str(score) for score in column] for column in found.T)
                qids = self._queries.ids(_query_rows(keys[:, 0]))
                positives, negatives = (self._passages.ids(_passage_rows(column)) for column in keys.T)
                file.writelines(map("{}\t{}\t{}\t{}\t{}\n".format, upper, lower, qids, positives, negatives))
                margins = np.subtract(*found.T.astype(np.float64))
                # Chan, Golub, LeVeque 1979: no difference of two large sums.
                share = len(keys) / (start + len(keys))
                offset = float(margins.mean()) - mean
                mean += offset * share
                squares += float(margins.var()) * len(keys) + offset**2 * start * share
                agreement += Agreement.of(margins)
                bar.update(len(keys))
            check(agreement)
        return Margins(mean, float(np.sqrt(squares / len(self.rows))), agreement)


def _keys(queries: NDArray[np.integer], passages: NDArray[np.integer]) -> NDArray[np.uint64]:
    """[rows, columns] of queries [rows] and passages [columns, rows]."""
    return (passages.astype(np.uint64) << np.uint64(QUERY_BITS) | queries.astype(np.uint64)).T


def _query_rows(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (keys & np.uint64((1 << QUERY_BITS) - 1)).astype(np.int64)


def _passage_rows(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (keys >> np.uint64(QUERY_BITS)).astype(np.int64)


class ScorePart:
    """`OUTPUT.part`, plain fp32 numbers, and `OUTPUT.part.json`: what they are of, and how many are there for certain.

    Goes on from what is there if that is of the same making.

    Args:
        output: the file that all of this is for. The caller keeps other processes out.
        origin: what the scores are made of.
        overwrite: begin anew where what is there is of another making.

    Attributes:
        count: how many scores are there.

    Raises:
        TasbError: what is there is of another making, or cannot be written to.
    """

    def __init__(self, output: Path, origin: Origin, *, overwrite: bool = False) -> None:
        self._part = output.with_name(f"{output.name}.part")
        self._sidecar = output.with_name(f"{output.name}.part.json")
        self._origin = origin
        self.count = 0
        if self._part.exists():
            self._take_up(read_sidecar(self._sidecar), overwrite=overwrite)
        # Before the part: scores of which nothing says what they are would be of no use.
        self._note()
        with self._errors_explained():
            self._part.touch()

    def append(self, scores: NDArray[np.float32]) -> None:
        """Add scores; they are on the disk afterwards.

        Raises:
            TasbError: the disk refuses.
        """
        with self._errors_explained(), self._part.open("r+b") as file:
            # Over what a killed process did not finish.
            file.seek(self.count * SCORE.itemsize)
            file.write(scores.astype(SCORE, copy=False).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.count += len(scores)
        self._note()

    def scores(self) -> NDArray[np.float32]:
        """[count] all scores."""
        with self._errors_explained():
            return np.fromfile(self._part, SCORE, self.count).astype(np.float32, copy=False)

    def remove(self) -> None:
        """Remove both files."""
        with self._errors_explained():
            self._part.unlink()
            self._sidecar.unlink()

    def _take_up(self, known: dict[str, Any], *, overwrite: bool) -> None:
        if known.get("origin", {}).keys() == self._origin.keys():
            now, then = differences(self._origin, known["origin"])
        else:
            now, then = [f"{self._sidecar.name} beside it"], ["nothing that says what these scores are of"]
        if not now:
            there = int(known["scores"])
            # Shorter only if something other than this class cut it.
            self.count = there if self._part.stat().st_size >= there * SCORE.itemsize else 0
        elif not overwrite:
            raise TasbError(
                where=str(self._part),
                expected="; ".join(now),
                found="; ".join(then),
                do="give what these scores were begun with to go on; or remove this file, or add "
                f"{argument('overwrite', True)}, to begin anew",
            )

    def _note(self) -> None:
        write_whole(self._sidecar, json.dumps({"scores": self.count, "origin": self._origin}, indent=1) + "\n")

    def _errors_explained(self) -> AbstractContextManager[None]:
        return os_errors_explained(
            self._part,
            expected="a file that can be written",
            do="check the folder, its permissions and the space on the disk; the same command goes on from here",
        )


def options_origin(options: ScoringOptions, pairs_per_window: int) -> dict[str, str]:
    """How the scores are computed. Which CPU or GPU it is does not count, nor the versions of libraries."""
    chosen = {
        "--query-max-length": options.query_max_length,
        "--max-length": options.max_length,
        "--precision": options.precision,
        "--device": options.found_device.partition(":")[0],
        "pairs per window": pairs_per_window,
    }
    name = ", ".join(f"{option} {value}" for option, value in chosen.items() if value is not None)
    return {"name": name, "digest": hashlib.sha256(name.encode()).hexdigest()}


def differences(now: Origin, then: Origin) -> tuple[list[str], list[str]]:
    """What differs, as it is now and as it was then; nothing if the scores are of one making.

    Args:
        now: of the scores that are asked for.
        then: of those that are there.
    """
    found = [what for what in now if then[what]["digest"] != now[what]["digest"]]
    if set(found) & set(TEXTS):
        # Pairs are known by the numbers of their texts: of other texts they say nothing.
        found = [what for what in found if what != "pairs"]
    before = []
    for what in found:
        changed = ", which has changed since" if then[what]["name"] == now[what]["name"] else ""
        before.append(f"{what} {then[what]['name']}{changed}")
    return [f"{what} {now[what]['name']}" for what in found], before
