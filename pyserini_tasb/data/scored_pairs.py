"""The pairs to score, and the scores on disk until all pairs are scored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.text_store import TextLookup

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_sources import IdPairs
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.reranking.scorers import PairScorer, ScoringOptions
    from pyserini_tasb.resume import PartialFile


# As many as a cross-encoder sorts by length together: on a CPU these are minutes, on a GPU a few seconds.
PAIRS_PER_WINDOW = 8_192
ROWS_AT_ONCE = 65_536
QUERY_BITS = 32  # a store numbers its texts with as many
SCORE = np.dtype("<f4")

Origin: TypeAlias = dict[str, dict[str, str]]
"""model, collection, queries, pairs, options → `name`, as people call it, and `digest`, which says what it holds."""

TEXTS = ("collection", "queries")


@dataclass(frozen=True)
class Margins:
    """The positives' scores less the negatives'.

    Args:
        mean: the mean over all rows.
        deviation: standard deviation over all rows.
        agreement: the agreement with the rows' labels.
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

    def digest(self) -> str:
        """A digest of the distinct pairs. They are numbers of texts: compare it where the texts are the same only."""
        return hashlib.sha256(self.distinct.data).hexdigest()

    def score(self, scorer: PairScorer, part: PartialFile, origin: Origin, done: int) -> NDArray[np.float32]:
        """[distinct] scores, window by window; each window is on the disk before the next begins.

        Windows are cut in the same places whenever it is called: what is padded and multiplied together can change the
        last bits of a score.

        Args:
            scorer: the model.
            part: gets the scores, plain fp32 numbers.
            origin: what they are made of.
            done: how many of them are there, as `count_scores` says.

        Raises:
            TasbError: a score is not finite, or the disk refuses.
        """
        from tqdm.auto import tqdm

        part.begin({"scores": done, "origin": origin}, done * SCORE.itemsize)
        total = len(self.distinct)
        with tqdm(total=total, initial=done, desc="scoring pairs", unit=" pairs", mininterval=1.0) as progress:
            for start in range(done, total, PAIRS_PER_WINDOW):
                keys = self.distinct[start : start + PAIRS_PER_WINDOW]
                scores = scorer.score_pairs(self._queries, self._passages, _query_rows(keys), _passage_rows(keys))
                self._require_finite(scores, keys)
                part.append(scores.astype(SCORE, copy=False).tobytes())
                part.note({"scores": start + len(keys), "origin": origin})
                progress.update(len(keys))
        with part.errors_explained():
            return np.fromfile(part.path, SCORE).astype(np.float32, copy=False)

    def _require_finite(self, scores: NDArray[np.float32], keys: NDArray[np.uint64]) -> None:
        wrong = np.flatnonzero(~np.isfinite(scores))
        if len(wrong):
            key, score = keys[wrong[:1]], scores[wrong[0]]
            (qid,), (docid,) = self._queries.ids(_query_rows(key)), self._passages.ids(_passage_rows(key))
            raise TasbError(
                expected="scores that are finite numbers",
                found=f"{score} for query {qid}, passage {docid}; {len(wrong)} of {len(scores)} scores are not finite",
                do=f"use {argument('precision', 'fp32')}; if it was fp32, the model's weights are damaged",
            )

    def write(self, part: PartialFile, scores: NDArray[np.float32], check: Callable[[Agreement], None]) -> Margins:
        """Write `pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid` for each row.

        Scores have the fewest digits that read back as the same float32.

        Args:
            part: the file of the scores, in whose place they are written; it is there only once it is whole.
            scores: [distinct] of the distinct pairs.
            check: is called with the agreement before the file is put in place; an error from it leaves no file.

        Raises:
            TasbError: the file cannot be written.
        """
        from tqdm.auto import tqdm

        mean = squares = 0.0
        agreement = Agreement()
        name = part.whole.name
        with part.replaced() as file, tqdm(total=len(self.rows), desc=f"writing {name}", unit=" rows") as bar:
            for start in range(0, len(self.rows), ROWS_AT_ONCE):
                keys = self.rows[start : start + ROWS_AT_ONCE]
                found = scores[np.searchsorted(self.distinct, keys)]
                upper, lower = ([str(score) for score in column] for column in found.T)
                qids = self._queries.ids(_query_rows(keys[:, 0]))
                positives, negatives = (self._passages.ids(_passage_rows(column)) for column in keys.T)
                lines = map("{}\t{}\t{}\t{}\t{}\n".format, upper, lower, qids, positives, negatives)
                file.write("".join(lines).encode())
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


def count_scores(part: PartialFile, origin: Origin, *, overwrite: bool = False) -> int:
    """How many scores an interrupted process left; none if they are of another making and `overwrite` is set.

    Args:
        part: the file of scores.
        origin: what the scores are made of.
        overwrite: begin anew where what is there is of another making.

    Raises:
        TasbError: what is there is of another making.
    """
    known = part.about
    if not part.size:
        return 0
    if known.get("origin", {}).keys() == origin.keys():
        now, then = differences(origin, known["origin"])
    else:
        now, then = [f"{part.sidecar.name} beside it"], ["nothing that describes these scores"]
    if not now:
        # Shorter only if something other than `PairTable.score` cut it.
        return int(known["scores"]) if part.size >= known["scores"] * SCORE.itemsize else 0
    if overwrite:
        return 0
    raise TasbError(
        where=str(part.path),
        expected="; ".join(now),
        found="; ".join(then),
        do=f"give the first run's options to continue; or remove this file, or add {argument('overwrite', True)}, to "
        "start again",
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
    """The differences, as they are now and as they were then; none if the scores are of one making.

    Args:
        now: the details of the scores that the call asks for.
        then: the details of the scores in the file.
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
