"""Re-ranking: the top of a run, scored again by any model and sorted by the new scores."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tqdm.auto import tqdm

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.lines import split_columns
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.formats.passages import read_passages, require_texts, require_topics
from pyserini_tasb.formats.run import Run, as_run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.outputs import is_standard_output
from pyserini_tasb.recipes.lookup import default_tag
from pyserini_tasb.reranking.partial_run import partial_run, text_digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.recipes.types import Backend, Precision
    from pyserini_tasb.reranking.scorers import ListScorer, PairScorer
    from pyserini_tasb.results import StrPath

    Score: TypeAlias = Callable[[str, Sequence[str]], NDArray[np.float32]]
    Pairwise: TypeAlias = Literal["sym-sum", "sym-sum-log", "sum", "sum-log", "binary", "min", "max"]


DEPTH, PAIRWISE_DEPTH = 100, 50


def rerank(
    run: AnyRun,
    *,
    model: str,
    scorer: str | None = None,
    topics: AnyTopics,
    corpus: StrPath,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    output: StrPath | None = None,
    depth: int | None = None,
    remove_query: bool = False,
    keep_rest: bool = False,
    pairwise: Pairwise | None = None,
    answers: Sequence[str] | None = None,
    tag: str | None = None,
    query_max_length: int | None = None,
    max_length: int | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    backend: Backend | None = None,
    allow_bin: bool = False,
    overwrite: bool = False,
) -> RerankedRun:
    """Re-rank the top of a run with another model.

    With `output`, each finished query is on disk at once: repeat an interrupted call to continue it, and the file gets
    the same bytes in the end. Without `output`, nothing is written, and an interrupted call starts again.

    Args:
        run: the run to re-rank: its path or name, a `Run`, qid → docid → score, or a data frame.
        model: the model that scores: an encoder (`tasb`, `tasb:NAME`), or the folder or hub id of a BERT_CAT, a
            ColBERT, a monoT5 or another cross-encoder. Its config.json tells the kind of model, unless `scorer` does.
        scorer: how the model scores a pair: a name of `tasb list pair-scorers`, or `module:name`.
        topics: a name (`dl19-passage`), a TSV or JSONL file, or qid → text.
        corpus: the passages: TSV, JSONL, a Lucene index that stores texts, or a text store.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        output: a new file for the run, gzip if named `….gz`; `-` is standard output, where an interrupted call cannot
            continue.
        depth: the number of passages of each query to score; by default 100, or 50 with `pairwise`. Passages below are
            dropped.
        remove_query: drop from the run each query's own document, whose docid is the query's id.
        keep_rest: keep the passages below `depth` after the others, in their old order and with made-up scores.
        pairwise: compare every two passages with a duoT5. The value is the rule that combines a passage's comparisons
            into its score.
        answers: the words for false and true that a T5 answers with, if they are not `false` and `true`.
        tag: the run's name, in the last column of TREC's format; by default the model's name.
        query_max_length: the most tokens of a query; by default the model's.
        max_length: the most tokens of a passage, or of all texts that the model reads together; by default the model's.
        precision: the number format, `fp32` or `bf16`; by default the encoder card's, or fp32 for other models.
        device: `cpu`, `cuda:0`, …; by default a GPU, or else the CPU.
        backend: the back end of an encoder: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the
            card's.
        allow_bin: accept weights in `pytorch_model.bin`, a pickle file. Its code is not run.
        overwrite: replace a file at `output`, once the new one is complete.

    Returns:
        the re-ranked run, with the queries in the order of the first run.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, a file is faulty, a query has no
            topic, a passage has no text, the output exists, or an unfinished output is of another call.
    """
    tag = default_tag(model) if tag is None else tag
    _require_tag(tag)
    if depth is None:
        depth = PAIRWISE_DEPTH if pairwise else DEPTH
    kept = None if output is None or is_standard_output(output) else output
    found: dict[str, dict[str, float]] = {}
    seconds = []
    with (
        contextlib.nullcontext()
        if output is None
        else partial_run(Path(output), tag, overwrite=overwrite, inputs=[run, topics, corpus])
    ) as part:
        from pyserini_tasb.reranking import scorers  # imports torch

        # What can be wrong is found out before a large collection is read.
        options = scorers.ScoringOptions(device, precision, query_max_length, max_length, answers, backend, scorer)
        digest = scorers.ScorerRequest(model, allow_bin, options).digest
        source = _read(as_run(run, remove_query=remove_query), topics, corpus, Fields.named(fields, docid_field), depth)
        done = 0
        if part is not None:
            written = source.rankings if keep_rest else source.tops
            about = {
                **text_digests(written, source.tops, source.topics, source.passages),
                "model": digest,
                "depth": depth,
                "pairwise": pairwise,
                "tag": tag,
                **{name: value for name, value in asdict(options).items() if name != "scorer"},  # the digest has it
                "device": options.found_device,
            }
            done = part.resume(about, written)
        if done < len(source.tops):
            loaded: PairScorer | ListScorer
            if pairwise:
                loaded = scorers.load_list_scorer(model, pairwise, options, allow_bin=allow_bin)
            else:
                loaded = scorers.load_scorer(model, options, allow_bin=allow_bin)
            remaining = dict(itertools.islice(source.run.items(), done, None))
            queries = rerank_queries(remaining, source.topics, source.passages, loaded, depth, keep_rest=keep_rest)
            for query in tqdm(queries, desc="re-ranking", unit=" queries", total=len(source.tops), initial=done):
                seconds.append(query.seconds)
                if not kept:
                    found[query.qid] = query.ranking
                if part is not None:
                    part.append(query)
        if part is not None:
            part.finish()
    ranked = Run.read(kept) if kept else Run(found)
    return RerankedRun(ranked.table, name=tag, sizes=[len(docids) for docids in source.tops.values()], seconds=seconds)


class RerankedRun(Run):
    """A re-ranked run, with the time that its queries took.

    Args:
        sizes: the number of scored passages of each query.
        seconds: the time of each query that this call re-ranked, from its texts to its ranking. Queries that an earlier
            call finished come first and have no time.
        others: the arguments of `Run`.
    """

    def __init__(self, *others: Any, sizes: Sequence[int], seconds: Sequence[float], **names: Any) -> None:
        super().__init__(*others, **names)
        self.sizes, self.seconds = sizes, seconds

    @property
    def summary(self) -> str:
        """Queries, passages, milliseconds for each query and passages for each second, in one line."""
        return timing_summary(self.sizes, self.seconds)


def timing_summary(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """See `RerankedRun`, whose attributes these are."""
    parts = [f"{len(sizes):,} queries, {sum(sizes):,} passages"]
    earlier = len(sizes) - len(seconds)
    if earlier:
        parts.append(f"{earlier:,} of the queries finished by an earlier run")
    if len(seconds):
        times = np.array(seconds) * 1_000
        rate = sum(sizes[earlier:]) / sum(seconds)
        parts.append(
            f"{times.mean():.1f} ms per query on average, median {np.median(times):.1f}, "
            f"95th percentile {np.percentile(times, 95):.1f}"
        )
        parts.append(f"{rate:,.0f} passages per second")
    return "; ".join(parts)


def _require_tag(tag: str) -> None:
    try:
        fits = split_columns(tag) == [tag]
    except ValueError:  # not UTF-8
        fits = False
    if not fits:
        raise TasbError(
            expected="a tag without white space", found=repr(tag), do=f"name another with {argument('tag')}"
        )


@dataclass(frozen=True)
class _Source:
    """The material of a re-ranking.

    Args:
        run: qid → docid → score.
        rankings: qid → docids, best first.
        tops: the same down to the depth.
        topics: qid → text.
        passages: docid → text, of `tops`.
    """

    run: RunDict
    rankings: dict[str, list[str]]
    tops: dict[str, list[str]]
    topics: Mapping[str, str]
    passages: Mapping[str, str]


def _read(run: Run, topics: AnyTopics, corpus: StrPath, fields: Fields, depth: int) -> _Source:
    rankings = {qid: ranking for qid, ranking in run.items() if ranking}
    texts = as_topics(topics)
    tops = top_of_run(rankings, depth, where=run.name)
    require_topics(tops, texts, where=fspath(topics) if isinstance(topics, str | PathLike) else None)
    docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
    passages = read_passages(Path(corpus), docids, fields)
    require_texts(docids, passages, where=fspath(corpus))
    ranked = {qid: ranked_docids(ranking) for qid, ranking in rankings.items()}
    return _Source(rankings, ranked, tops, texts, passages)


@dataclass(frozen=True)
class RerankedQuery:
    """One query's new ranking, the best first.

    Args:
        qid: the query.
        docids: the passages.
        scores: [passages] the model's scores, fp32; passages that were kept from below have made-up ones that follow.
        seconds: the time from the texts to this ranking.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]
    seconds: float

    @property
    def ranking(self) -> dict[str, float]:
        """The scores by docid, as they are read back from the run's file."""
        return {docid: float(str(score)) for docid, score in zip(self.docids, self.scores, strict=True)}


def rerank_queries(
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
        scorer: a model, as `load_scorer` or `load_list_scorer` gives it.
        depth: passages of each query that are scored, by the run's scores.
        keep_rest: what lies below `depth` follows in its order, instead of being dropped.

    Returns:
        The queries in the run's order, each scored when it is asked for. All else is checked at once.

    Raises:
        TasbError: no document in the run, a depth below 1, queries without a topic, passages without text; or, while
            it goes on, a score that is no finite number.
    """
    from pyserini_tasb.reranking.scorers import ListScorer  # imports torch

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
        where: the run's name, for messages.

    Raises:
        TasbError: no document in the run, or a depth below 1.
    """
    if depth < 1:
        raise TasbError(expected="a depth of 1 or more", found=str(depth), do="give the number of passages to re-rank")
    if not any(run.values()):
        raise TasbError(where=where, expected="a run with documents", found="none", do="check the run")
    return {qid: ranked_docids(ranking)[:depth] for qid, ranking in run.items()}


def _one_by_one(scorer: PairScorer) -> Score:
    def score(query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        rows = np.arange(len(passages), dtype=np.int64)
        return scorer.score_pairs(ListedTexts([query]), ListedTexts(passages), np.zeros_like(rows), rows)

    return score


def _reranked(qid: str, query: str, docids: Sequence[str], passages: Sequence[str], score: Score) -> RerankedQuery:
    start = time.perf_counter()
    scores = score(query, passages)
    by_docid = dict(zip(docids, scores.tolist(), strict=True))
    ranked = ranked_docids(by_docid)
    seconds = time.perf_counter() - start
    _require_finite(qid, docids, scores)
    return RerankedQuery(qid, ranked, np.array([by_docid[docid] for docid in ranked], dtype=np.float32), seconds)


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
