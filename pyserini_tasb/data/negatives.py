"""Hard negatives out of rankings: guard against false ones, draw some, pair them with the positives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyserini_tasb.data.false_negatives import PassageDigests, QueryItself, too_close
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.formats.text_store import TextLookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.reranking.scorers import PairScorer


EXAMPLES = 5


@dataclass(frozen=True)
class MiningRules:
    """How negatives are chosen.

    Args:
        skip_top: ranks, from the first, that give no negatives: where unjudged relevant passages are likeliest.
        per_query: negatives drawn for each query, at most; None: all.
        sampling: how they are drawn: `top`, `random` or `stratified`.
        margin_cutoff: a negative is not paired with a positive of which the teacher's score is less than this above
            its own, in the teacher's units; None: no such limit.
        min_relevance: the lowest grade of a positive.
        keep_query: a passage that is the query itself may be a negative.
        seed: decides which negatives are drawn.
    """

    skip_top: int = 0
    per_query: int | None = None
    sampling: str = "stratified"
    margin_cutoff: float | None = None
    min_relevance: int = 1
    keep_query: bool = False
    seed: int = 0


@dataclass
class MiningCounts:
    """Numbers of topics, positives, hits and pairs; the first few topics of each kind of fault by name."""

    topics: int = 0
    without_topic: int = 0
    without_qrels: int = 0
    without_positive: int = 0
    without_positive_text: int = 0
    positives: int = 0
    positives_without_text: int = 0
    hits: int = 0
    hits_without_text: int = 0
    known_positives: int = 0
    same_text: int = 0
    query_itself: int = 0
    skipped_top: int = 0
    too_close: int = 0
    without_negatives: int = 0
    without_hits: int = 0
    negatives: int = 0
    pairs_too_close: int = 0
    positives_without_pair: int = 0
    queries: int = 0
    pairs: int = 0
    agreement: Agreement = field(default_factory=Agreement)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, qid: str) -> None:
        """Count a query under `kind`, and keep the first few of the kind by name."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(examples := self.examples.setdefault(kind, [])) < EXAMPLES:
            examples.append(qid)

    def named(self, kind: str) -> str:
        """The first few topics of a kind, for people."""
        return ", ".join(self.examples[kind]) + (", …" if getattr(self, kind) > EXAMPLES else "")

    def keep(self, kind: str, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count under `kind` what is removed; True where something stays."""
        setattr(self, kind, getattr(self, kind) + int(removed.sum()))
        return ~removed


@dataclass(frozen=True)
class Ranking:
    """One query's hits, the best first.

    Args:
        qid: the query.
        docids: the hits.
        scores: [hits] as the searcher gave them.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """A query's positives and what may become its negatives.

    Args:
        qid: the query.
        positives: indices of passages.
        negatives: indices of passages, in ranking order.
        scores: [negatives] as the search gave them.
        taught: the teacher's scores [positives] and [negatives], if there is a teacher.
    """

    qid: str
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    scores: NDArray[np.float32]
    taught: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


def usable_positives(
    topics: Mapping[str, str], qrels: QrelsDict, passages: TextStore, rules: MiningRules, counts: MiningCounts
) -> dict[str, NDArray[np.int64]]:
    """The positives of each topic that has any with a text, as indices of passages; the others are counted.

    Queries that have positives and are no topics are counted as well.
    """
    positives, with_text = {}, TextLookup(passages)
    for qid in topics:
        counts.topics += 1
        judged = qrels.get(qid)
        docids = [docid for docid, grade in (judged or {}).items() if grade >= rules.min_relevance]
        found = with_text.indices(docids)
        found = found[found >= 0]
        if judged is None:
            counts.note("without_qrels", qid)
        elif not docids:
            counts.note("without_positive", qid)
        elif not len(found):
            counts.note("without_positive_text", qid)
        else:
            positives[qid] = found
        counts.positives += len(docids)
        counts.positives_without_text += len(docids) - len(found)
    for qid, judged in qrels.items():
        if qid not in topics and any(grade >= rules.min_relevance for grade in judged.values()):
            counts.note("without_topic", qid)
    return positives


def mine_negatives(
    rankings: Iterable[Ranking],
    positives: Mapping[str, NDArray[np.int64]],
    passages: TextStore,
    rules: MiningRules,
    counts: MiningCounts,
    *,
    topics: TextStore,
    teacher: PairScorer | None = None,
) -> Iterator[Candidates]:
    """Choose each ranked query's negatives; with a teacher, score them and the positives.

    Without a teacher one query is in memory at a time; with one, every query's candidates are (some 50 bytes each).

    Args:
        rankings: the rankings of the queries in `positives`.
        positives: indices of passages, for each query.
        passages: the collection.
        rules: how to choose.
        counts: what happened is added here.
        topics: the queries.
        teacher: scores pairs; needed for a margin cutoff.

    Yields:
        queries with at least one negative. Pairs that are too close may still be among theirs: see
        `keep_clear_pairs`.
    """
    guarded = _guarded(rankings, positives, passages, rules, counts, topics=topics)
    if teacher is None:
        yield from _drawn(guarded, rules, counts)
        return
    # Only a cutoff and the strata need scores before the draw, and unscored passages need not be encoded.
    draw_first = rules.margin_cutoff is None and rules.sampling != "stratified"
    listed = list(_drawn(guarded, rules, counts) if draw_first else guarded)
    taught = _taught(listed, teacher, topics, passages)
    yield from taught if draw_first else _drawn(_clear_of_positives(taught, rules, counts), rules, counts)


def keep_clear_pairs(query: Candidates, rules: MiningRules, counts: MiningCounts) -> NDArray[np.intp]:
    """[pairs, 2] every positive with every negative, as positions in the query's arrays, but those too close."""
    close: NDArray[np.bool_] = np.zeros((len(query.positives), len(query.negatives)), dtype=np.bool_)
    if query.taught is not None and rules.margin_cutoff is not None:
        close = too_close(*query.taught, rules.margin_cutoff)
    keep = counts.keep("pairs_too_close", close)
    counts.positives_without_pair += int((~keep.any(axis=1)).sum())
    pairs: NDArray[np.intp] = np.argwhere(keep)
    counts.pairs += len(pairs)
    if query.taught is not None:
        of_positives, of_negatives = query.taught
        counts.agreement += Agreement.of(of_positives[pairs[:, 0]] - of_negatives[pairs[:, 1]])
    return pairs


def _guarded(
    rankings: Iterable[Ranking],
    positives: Mapping[str, NDArray[np.int64]],
    passages: TextStore,
    rules: MiningRules,
    counts: MiningCounts,
    *,
    topics: TextStore,
) -> Iterator[Candidates]:
    with_text, digests = TextLookup(passages), PassageDigests(passages)
    query_itself = None if rules.keep_query else QueryItself(topics, passages)
    for ranking in rankings:
        relevant = positives[ranking.qid]
        rows, scores = with_text.indices(ranking.docids), ranking.scores
        counts.hits += len(rows)
        if not len(rows):
            counts.note("without_hits", ranking.qid)
        # A hit is counted under the first of these that removes it.
        left = np.flatnonzero(counts.keep("hits_without_text", rows < 0))
        left = left[counts.keep("known_positives", np.isin(rows[left], relevant))]
        left = left[counts.keep("same_text", digests.same_text(rows[left], relevant))]
        if query_itself:
            queries = np.full(len(left), topics.indices([ranking.qid]))
            left = left[counts.keep("query_itself", query_itself.found(queries, rows[left]))]
        left = left[counts.keep("skipped_top", left < rules.skip_top)]
        yield Candidates(ranking.qid, relevant, rows[left], scores[left])


def _taught(
    queries: Sequence[Candidates], teacher: PairScorer, topics: TextStore, passages: TextStore
) -> Iterator[Candidates]:
    sizes = [len(query.positives) + len(query.negatives) for query in queries]
    passage_rows = [part for query in queries for part in (query.positives, query.negatives)]
    scores = teacher.score_pairs(
        topics,
        passages,
        np.repeat(topics.indices([query.qid for query in queries]), sizes),
        np.concatenate([np.empty(0, dtype=np.int64), *passage_rows]),
    )
    start = 0
    for query, size in zip(queries, sizes, strict=True):
        of_positives, of_negatives = np.split(scores[start : start + size], [len(query.positives)])
        yield dataclasses.replace(query, taught=(of_positives, of_negatives))
        start += size


def _clear_of_positives(
    queries: Iterable[Candidates], rules: MiningRules, counts: MiningCounts
) -> Iterator[Candidates]:
    """Without the negatives that are too close to every positive of their query."""
    for query in queries:
        if query.taught is None or rules.margin_cutoff is None:
            yield query
            continue
        useless: NDArray[np.bool_] = np.all(too_close(*query.taught, rules.margin_cutoff), axis=0)
        yield _only(query, np.flatnonzero(counts.keep("too_close", useless)))


def _drawn(queries: Iterable[Candidates], rules: MiningRules, counts: MiningCounts) -> Iterator[Candidates]:
    for query in queries:
        if not len(query.negatives):
            counts.note("without_negatives", query.qid)
            continue
        scores = query.scores if query.taught is None else query.taught[1]
        count = len(scores) if rules.per_query is None else rules.per_query
        drawn = _only(query, SAMPLING[rules.sampling](scores, count, query_randomness(rules.seed, query.qid)))
        counts.queries += 1
        counts.negatives += len(drawn.negatives)
        yield drawn


def _only(query: Candidates, chosen: NDArray[np.intp]) -> Candidates:
    taught = query.taught and (query.taught[0], query.taught[1][chosen])
    return dataclasses.replace(query, negatives=query.negatives[chosen], scores=query.scores[chosen], taught=taught)


STRATA = 10

Sampling: TypeAlias = Callable[[NDArray[np.float32], int, np.random.Generator], NDArray[np.intp]]
"""(scores of the candidates in ranking order, how many to draw, randomness) → positions drawn, in ranking order."""


def query_randomness(seed: int, qid: str) -> np.random.Generator:
    """Randomness that depends only on the seed and the query, not on earlier queries."""
    key = int.from_bytes(blake2b(f"{seed} {qid}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def top(scores: NDArray[np.float32], count: int, _: np.random.Generator) -> NDArray[np.intp]:
    """The first candidates of the ranking."""
    return np.arange(min(count, len(scores)))


def uniform(scores: NDArray[np.float32], count: int, randomness: np.random.Generator) -> NDArray[np.intp]:
    """Candidates drawn uniformly, without replacement."""
    return np.sort(randomness.choice(len(scores), min(count, len(scores)), replace=False))


def stratified(scores: NDArray[np.float32], count: int, randomness: np.random.Generator) -> NDArray[np.intp]:
    """Candidates from ten equal-width strata between the best and the worst score, as many from each as possible.

    Strata give one candidate each in turn, drawn uniformly, the best stratum first; empty ones are passed over. So the
    teacher's whole range of scores is covered, of which the dense lower end would otherwise be nearly all
    (arXiv:2604.04734 finds that better for distillation than the top or a uniform draw).
    """
    if not len(scores):
        return np.empty(0, dtype=np.intp)
    best, worst = float(scores.max()), float(scores.min())
    # The best score itself belongs to the best stratum; all scores equal are one stratum.
    depth = (best - scores.astype(np.float64)) / (best - worst) if best > worst else np.zeros(len(scores))
    stratum = np.minimum((depth * STRATA).astype(np.intp), STRATA - 1)
    shuffled = randomness.permutation(len(scores))
    by_stratum = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    strata = stratum[by_stratum]
    turn = np.arange(len(scores)) - np.searchsorted(strata, strata)
    drawn: NDArray[np.intp] = np.sort(by_stratum[np.lexsort((strata, turn))[:count]])
    return drawn


SAMPLING: dict[str, Sampling] = {"top": top, "random": uniform, "stratified": stratified}
