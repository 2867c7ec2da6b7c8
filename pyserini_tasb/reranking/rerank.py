"""`tasb rerank`: the top of a run, scored again by any model."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import split_columns
from pyserini_tasb.formats.named import load_run, load_topics
from pyserini_tasb.formats.passages import read_passages, require_texts, require_topics
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.recipes.lookup import default_tag
from pyserini_tasb.reranking.partial_run import PartialRun, text_digests
from pyserini_tasb.reranking.scorers import ListScorer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.reranking.scorers import PairScorer, ScoringOptions

    Score: TypeAlias = Callable[[str, Sequence[str]], NDArray[np.float32]]


DEPTH, PAIRWISE_DEPTH = 100, 50


@dataclass(frozen=True)
class _Texts:
    """What is re-ranked: a run, its docids down to the depth, those that are written, and the texts."""

    run: RunDict
    tops: dict[str, list[str]]
    written: dict[str, list[str]]
    topics: Topics
    passages: dict[str, str]


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`: each query's top `arguments.depth` by a model's scores.

    Raises:
        TasbError: options that cannot be, a name or path that leads nowhere, a faulty file, queries without a topic,
            passages without text, an output that is there, or what is left of another command.
    """
    tag = arguments.tag if arguments.tag is not None else default_tag(arguments.model)
    _require_tag(tag)
    depth = arguments.depth
    if depth is None:
        depth = PAIRWISE_DEPTH if arguments.pairwise else DEPTH
    seconds = []
    with PartialRun(Path(arguments.output), tag, overwrite=arguments.overwrite) as output:
        from pyserini_tasb.reranking.scorers import ScoringOptions  # imports torch

        # What can be wrong is found out before a large collection is read.
        options = ScoringOptions(
            arguments.device,
            arguments.precision,
            arguments.query_max_length,
            arguments.max_length,
            arguments.answers,
        )
        digest = model_digest(arguments.model, allow_bin=arguments.allow_bin)
        texts = _read(arguments, depth)
        about = {
            **text_digests(texts.written, texts.tops, texts.topics, texts.passages),
            "model": digest,
            "depth": depth,
            "pairwise": arguments.pairwise,
            "tag": tag,
            **asdict(options),
            "device": options.found_device,
        }
        done = output.resume(about, texts.written)
        if done < len(texts.tops):
            scorer = _load_scorer(arguments, options)
            remaining = {qid: texts.run[qid] for qid in itertools.islice(texts.tops, done, None)}
            queries = rerank(remaining, texts.topics, texts.passages, scorer, depth, keep_rest=arguments.keep_rest)
            for query in tqdm(queries, desc="re-ranking", unit=" queries", total=len(texts.tops), initial=done):
                output.append(query)
                seconds.append(query.seconds)
        output.finish()
    print(f"{arguments.output}: {summary([len(docids) for docids in texts.tops.values()], seconds)}")
    return 0


def _require_tag(tag: str) -> None:
    try:
        fits = split_columns(tag) == [tag]
    except ValueError:  # not UTF-8
        fits = False
    if not fits:
        raise TasbError(expected="a tag without white space", found=repr(tag), do="name another with --tag")


def _load_scorer(arguments: argparse.Namespace, options: ScoringOptions) -> PairScorer | ListScorer:
    from pyserini_tasb.reranking import scorers

    model, allow_bin = arguments.model, arguments.allow_bin
    if arguments.pairwise:
        return scorers.load_list_scorer(model, arguments.pairwise, options, allow_bin=allow_bin)
    return scorers.load_scorer(model, options, allow_bin=allow_bin)


def _read(arguments: argparse.Namespace, depth: int) -> _Texts:
    run = load_run(arguments.run_file, remove_query=arguments.remove_query)
    topics = load_topics(arguments.topics)
    tops = top_of_run(run, depth, where=arguments.run_file)
    written = {qid: ranked_docids(ranking) for qid, ranking in run.items()} if arguments.keep_rest else tops
    require_topics(tops, topics, where=arguments.topics)
    docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
    passages = read_passages(Path(arguments.corpus), docids)
    require_texts(docids, passages, where=arguments.corpus)
    return _Texts(run, tops, written, topics, passages)


# --------
# The top of each query's ranking, scored again and sorted by the new scores.


@dataclass(frozen=True)
class RerankedQuery:
    """One query's new ranking, the best first.

    Args:
        qid: the query.
        docids: of the passages.
        scores: [passages] the model's, fp32; of what was kept from below, made up to follow them.
        seconds: from the texts to this ranking.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]
    seconds: float


def rerank(
    run: Mapping[str, Mapping[str, float]],
    topics: Mapping[str, str],
    passages: Mapping[str, str],
    scorer: PairScorer | ListScorer,
    depth: int,
    *,
    keep_rest: bool = False,
) -> Iterator[RerankedQuery]:
    """Score each query's top passages again, one query at a time, and sort them by the new scores.

    Ties are broken as trec_eval breaks them, before and after: the greater docid first.

    Args:
        run: qid → docid → score.
        topics: qid → text of the query; may hold others.
        passages: docid → text; may hold others.
        scorer: what `load_scorer` or `load_list_scorer` gives.
        depth: passages of each query that are scored, by the run's scores.
        keep_rest: what lies below `depth` follows in its order, instead of being dropped.

    Returns:
        The queries in the run's order, each scored when it is asked for. All else is checked at once.

    Raises:
        TasbError: no document in the run, a depth below 1, queries without a topic, passages without text; or, while
            it goes on, a score that is no finite number.
    """
    tops = top_of_run(run, depth)
    require_topics(tops, topics)
    require_texts((docid for docids in tops.values() for docid in docids), passages)
    score = scorer.score_list if isinstance(scorer, ListScorer) else _one_by_one(scorer)

    def reranked(qid: str) -> RerankedQuery:
        query = _reranked(qid, topics[qid], tops[qid], [passages[docid] for docid in tops[qid]], score)
        return _followed(query, ranked_docids(run[qid])[depth:]) if keep_rest else query

    return map(reranked, tops)


def top_of_run(run: Mapping[str, Mapping[str, float]], depth: int, where: str | None = None) -> dict[str, list[str]]:
    """Each query's docids down to a depth, best first; scores are compared as trec_eval does, in fp32.

    Args:
        run: qid → docid → score.
        depth: docids for each query, at least 1.
        where: what the run is of, for messages.

    Raises:
        TasbError: no document in the run, or a depth below 1.
    """
    if depth < 1:
        raise TasbError(expected="a depth of 1 or more", found=str(depth), do="say how many passages to re-rank")
    if not any(run.values()):
        raise TasbError(
            where=where, expected="a run with documents", found="not one", do="check what was to be re-ranked"
        )
    return {qid: ranked_docids(ranking)[:depth] for qid, ranking in run.items()}


def _one_by_one(scorer: PairScorer) -> Score:
    def score(query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        rows = np.arange(len(passages), dtype=np.int64)
        return scorer.score_pairs(ListedTexts([query]), ListedTexts(passages), np.zeros_like(rows), rows)

    return score


def _reranked(qid: str, query: str, docids: Sequence[str], passages: Sequence[str], score: Score) -> RerankedQuery:
    start = time.perf_counter()
    scores = score(query, passages)
    by_score = sorted(zip(scores.tolist(), docids, strict=True), reverse=True)
    seconds = time.perf_counter() - start
    _require_finite(qid, docids, scores)
    ranked = np.array([score for score, _ in by_score], dtype=np.float32)
    return RerankedQuery(qid, [docid for _, docid in by_score], ranked, seconds)


def _followed(query: RerankedQuery, docids: Sequence[str]) -> RerankedQuery:
    """With more docids below: their scores are made up, each less than the one before."""
    if not docids:
        return query
    lowest = query.scores[-1].astype(np.float64)
    # Large numbers are further apart than 1 in fp32; twice as far, where these reach the next power of two.
    step = max(1.0, 2 * float(np.spacing(np.abs(query.scores[-1]))))
    below = (lowest - step * np.arange(1, len(docids) + 1)).astype(np.float32)
    return replace(query, docids=[*query.docids, *docids], scores=np.concatenate([query.scores, below]))


def _require_finite(qid: str, docids: Sequence[str], scores: NDArray[np.float32]) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores)).tolist()
    if wrong:
        raise TasbError(
            where=f"query {qid}",
            expected="scores that are finite numbers",
            found=f"{len(wrong)} of {len(scores)} that are not, such as {scores[wrong[0]]} of {docids[wrong[0]]}",
            do="check the model's weights; where they overflow in bf16 or fp16, compute in fp32",
        )


# --------
# How long queries took, in one line.


def summary(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Queries, passages, milliseconds for each query and passages for each second.

    Args:
        sizes: passages of each query.
        seconds: of the last queries; those before them were finished by an earlier try.
    """
    parts = [f"{len(sizes):,} queries, {sum(sizes):,} passages"]
    earlier = len(sizes) - len(seconds)
    if earlier:
        parts.append(f"{earlier:,} of the queries finished by an earlier try")
    if len(seconds):
        times = np.array(seconds) * 1_000
        rate = sum(sizes[earlier:]) / sum(seconds)
        parts.append(
            f"{times.mean():.1f} ms a query on average, median {np.median(times):.1f}, "
            f"95th percentile {np.percentile(times, 95):.1f}"
        )
        parts.append(f"{rate:,.0f} passages a second")
    return "; ".join(parts)
