"""Hard negatives for judged queries, found with Pyserini."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from pyserini_tasb.data.negatives import (
    MiningCounts,
    MiningRules,
    keep_clear_pairs,
    mine_negatives,
    usable_positives,
)
from pyserini_tasb.data.rankings import bm25_rankings, dense_rankings, run_rankings
from pyserini_tasb.encoding.vectors import StoredVectors, VectorFolder
from pyserini_tasb.environment.processor import threads as usable_threads
from pyserini_tasb.errors import Argument, TasbError, argument
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import as_qrels, as_topics, same_ids_advice
from pyserini_tasb.formats.text_store import fill_text_store
from pyserini_tasb.outputs import new_file
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyserini_tasb.data.negatives import Candidates, Ranking
    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.indexes.opening import SearchWith
    from pyserini_tasb.indexes.torch_search import SearchPrecision
    from pyserini_tasb.results import StrPath


# Why hits are left out and topics give nothing, with the argument that decides it.
REMOVALS = {
    "hits_without_text": ("are not in the collection, or are empty", None),
    "known_positives": ("are positives", None),
    "same_text": ("have the text of a positive", None),
    "query_itself": ("are the query itself ({} keeps them)", argument("keep_query")),
    "skipped_top": ("are among the first ranks ({})", argument("skip_top")),
    "too_close": ("are too close to every positive ({})", argument("margin_cutoff")),
}
TOPIC_FAULTS = {
    "without_qrels": ("have no qrels", None),
    "without_positive": ("have no positive ({})", argument("min_relevance")),
    "without_positive_text": ("have no positive with a text in the collection", None),
    "without_negatives": ("have no hit that can be a negative", None),
    "without_hits": ("among these have no hits at all", None),
}


@dataclass(frozen=True)
class MinedPairs(FileResult):
    """A file of pairs with mined negatives. Wherever a path is taken, it stands for its path.

    Attributes:
        path: the file, for `pairs`.
        queries: the number of queries that have negatives.
        negatives: the number of drawn negatives.
        pairs: the number of pairs.
        counts: the numbers of topics, positives, hits and pairs that were used or left out.
        rules: the rules by which negatives were chosen.
        hits: the number of hits that were used of each query.
        teacher: the model that scored the pairs; None if none did.
    """

    queries: int
    negatives: int
    pairs: int
    counts: MiningCounts = field(repr=False)
    rules: MiningRules = field(repr=False)
    hits: int = field(repr=False)
    teacher: str | None = field(repr=False)

    @property
    def summary(self) -> str:
        """The numbers of pairs that were written and of everything that was left out, as lines of text."""
        return self.worded(str)

    def worded(self, mention: Callable[[Argument], str]) -> str:
        """The summary, with each argument as `mention` writes it."""
        counts, rules = self.counts, self.rules
        lines = [f"{counts.topics} topics, {counts.positives} positives"]
        for kind, what in TOPIC_FAULTS.items():
            if number := getattr(counts, kind):
                lines.append(f"  {number} topics {_filled(what, mention)}: {counts.named(kind)}")
        if counts.without_topic:
            lines.append(
                f"  {counts.without_topic} judged queries are not among the topics: {counts.named('without_topic')}"
            )
        if counts.positives_without_text:
            lines.append(f"  {counts.positives_without_text} positives are not in the collection, or are empty")
        lines.append(f"{counts.hits} hits at depth {self.hits}")
        for kind, what in REMOVALS.items():
            if number := getattr(counts, kind):
                lines.append(f"  {number} {_filled(what, mention)}")
        scores = f"scores of {self.teacher}" if self.teacher else "scores of the search"
        how = f"{rules.sampling} by {scores}" if rules.sampling == "stratified" else rules.sampling
        drawn = f"at most {rules.per_query} each, {how}" if rules.per_query is not None else "all that were left"
        lines.append(f"{counts.negatives} negatives of {counts.queries} queries: {drawn}")
        if counts.pairs_too_close:
            lines.append(f"  {counts.pairs_too_close} pairs left out: the negative is too close to that positive")
        if counts.positives_without_pair:
            lines.append(f"  {counts.positives_without_pair} positives have no pair left")
        lines.append(f"{counts.pairs} pairs in {self.path}")
        if self.teacher:
            lines.append(f"{self.teacher} {counts.agreement}")
            lines += [f"  warning: {warning}" for warning in [counts.agreement.warning] if warning]
        return "\n".join(lines)


def mine(
    topics: AnyTopics,
    qrels: AnyQrels,
    corpus: StrPath,
    *,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    index: StrPath | None = None,
    dense_index: StrPath | None = None,
    run: AnyRun | None = None,
    encoder: str | None = None,
    allow_other_encoder: bool = False,
    output: StrPath,
    hits: int = 200,
    skip_top: int = 0,
    per_query: int | None = None,
    sampling: Literal["top", "random", "stratified"] = "stratified",
    score_with: str | None = None,
    vectors: StrPath | None = None,
    margin_cutoff: float | None = None,
    keep_query: bool = False,
    allow_reversed: bool = False,
    min_relevance: int = 1,
    seed: int = 0,
    threads: int | None = None,
    search_with: SearchWith = "auto",
    search_precision: SearchPrecision = "fp32",
    device: str = "cpu",
    overwrite: bool = False,
) -> MinedPairs:
    """Find hard negatives for judged queries: with BM25, in a dense index, or in an existing run.

    The output has a line for each pair, `qid TAB pos_pid TAB neg_pid`. With `score_with`, the model's two scores come
    first. The same input and seed give the same bytes, whatever the number of threads.

    Args:
        topics: the queries. Those without positives are left out.
        qrels: the judgments, which give the positives.
        corpus: TSV, JSONL, a Lucene index or a text store.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        index: a Lucene index to search with BM25, or the name of a prebuilt one. Give `index`, `dense_index` or `run`.
        dense_index: a Faiss folder or a vector folder to search with `encoder`, or the name of a prebuilt Faiss index.
        run: an existing run.
        encoder: the query encoder for `dense_index`.
        allow_other_encoder: search `dense_index` even if it does not list the encoder.
        output: a new file; `-` is standard output.
        hits: the number of best hits to use of each query.
        skip_top: the number of best hits to skip. Relevant passages without a judgment are most likely among them.
        per_query: the number of negatives to draw for each query; by default all.
        sampling: the choice of negatives: `top` of the ranking, `random`, or `stratified` over ten ranges of scores
            (arXiv:2604.04734).
        score_with: the teacher that scores the pairs. The ranges of `stratified` are then of its scores.
        vectors: the folder of the corpus's vectors from `encode` with the encoder `score_with`. Passages are then not
            encoded again.
        margin_cutoff: drop pairs whose margin (the positive's score minus the negative's, from `score_with`) is this or
            less.
        keep_query: keep negatives that are the query itself: passages with its text, or with its id and 90 % of its
            words.
        allow_reversed: continue even if the teacher scores most negatives above their positives.
        min_relevance: the lowest grade of a positive.
        seed: the random seed of `per_query`.
        threads: the number of threads that search; by default $OMP_NUM_THREADS, or else the cores that this process may
            use.
        search_with: what searches `dense_index`: `auto`, `faiss` or `torch`; see `search`.
        search_precision: torch's number format: `fp32`, `bf16` or `fp16`; see `search`.
        device: the device of encoders, of `score_with` and of torch's search: `cpu` or `cuda:0`.
        overwrite: replace a file at `output`, once the new one is complete.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, a file is faulty, or no pair is
            left.
    """
    sources = {"index": index, "dense_index": dense_index, "run": run}
    of_model = {"margin_cutoff": margin_cutoff, "vectors": vectors}
    threads = usable_threads() if threads is None else threads
    _require_fitting(
        [name for name, source in sources.items() if source is not None],
        encoder=encoder,
        hits=hits,
        skip_top=skip_top,
        per_query=per_query,
        threads=threads,
        unscored=[name for name, value in of_model.items() if value is not None and not score_with],
    )
    rules = MiningRules(skip_top, per_query, sampling, margin_cutoff, min_relevance, keep_query, seed)
    counts = MiningCounts()
    path = Path(output)
    with ExitStack() as opened:
        new = opened.enter_context(new_file(path, overwrite=overwrite, inputs=[topics, qrels, corpus, run]))
        queries, judged = as_topics(topics), as_qrels(qrels)
        file = opened.enter_context(new.opened_as_text())
        collection = open_collection(Path(corpus), Fields.named(fields, docid_field))
        folder = opened.enter_context(new.folder_beside("passages"))
        passages = store_collection(folder, collection, os.fspath(corpus))
        positives = usable_positives(queries, judged, passages, rules, counts)
        _require_positives(counts, positives, min_relevance, queries, judged)
        searched = {qid: queries[qid] for qid in positives}
        folder = opened.enter_context(new.folder_beside("queries"))
        query_texts = fill_text_store(folder, searched.items(), "topics")
        teacher = None
        if score_with:
            from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer

            stored = None
            if vectors is not None:
                stored = StoredVectors(VectorFolder(Path(vectors)), passages, "passage", f"{argument('vectors')}")
            teacher = load_scorer(score_with, ScoringOptions(device, vectors=stored))
        if run is not None:
            rankings: Iterator[Ranking] = run_rankings(run, searched, hits=hits)
        elif index is not None:
            rankings = bm25_rankings(index, searched, hits=hits, threads=threads)
        else:
            assert dense_index is not None  # noqa: S101 - as `_require_fitting` found
            assert encoder is not None  # noqa: S101
            rankings = dense_rankings(
                dense_index,
                encoder,
                searched,
                hits=hits,
                threads=threads,
                device=device,
                allow_other_encoder=allow_other_encoder,
                search_with=search_with,
                search_precision=search_precision,
            )
        for query in mine_negatives(rankings, positives, passages, rules, counts, topics=query_texts, teacher=teacher):
            _write(file, query, passages, rules, counts)
        _require_pairs(counts, path)
        counts.agreement.require(
            where=f"{argument('score_with', score_with)}",
            allowed=allow_reversed,
            do="use a model that was trained for relevance, and the qrels of this collection; "
            f"{argument('margin_cutoff', 0)} leaves out negatives that score above their positive",
        )
    return MinedPairs(
        path,
        queries=counts.queries,
        negatives=counts.negatives,
        pairs=counts.pairs,
        counts=counts,
        rules=rules,
        hits=hits,
        teacher=score_with,
    )


def _require_fitting(
    sources: list[str],
    *,
    encoder: str | None,
    hits: int,
    skip_top: int,
    per_query: int | None,
    threads: int,
    unscored: Sequence[str],
) -> None:
    of_dense = f"{argument('encoder')} with {argument('dense_index')}"
    depth = f"{argument('skip_top', skip_top)}, {argument('hits', hits)}"
    dense = "dense_index" in sources
    for wrong, expected, found, do in (
        (
            len(sources) != 1,
            f"one of {argument('index')}, {argument('dense_index')} and {argument('run')}",
            ", ".join(f"{argument(name)}" for name in sources) or "none",
            "give exactly one of them",
        ),
        (dense and not encoder, of_dense, f"no {argument('encoder')}", "name the encoder that the index was made with"),
        (
            encoder and not dense,
            f"{of_dense} only",
            f"{argument('encoder', encoder)} with a search that needs no encoder",
            "leave it out",
        ),
        (
            not 0 <= skip_top < hits,
            f"{argument('skip_top')} from 0 to less than {argument('hits')}",
            depth,
            "change one of them",
        ),
        (
            per_query is not None and per_query < 1,
            f"{argument('per_query')} at least 1",
            f"{per_query}",
            "leave it out for all",
        ),
        (threads < 1, f"{argument('threads')} at least 1", f"{threads}", "leave it out"),
        (
            bool(unscored),
            f"a teacher's scores for {' and '.join(f'{argument(name)}' for name in unscored)}",
            f"no {argument('score_with')}",
            f"add {argument('score_with', 'ENCODER')}",
        ),
    ):
        if wrong:
            raise TasbError(expected=expected, found=found, do=do)


def _require_positives(
    counts: MiningCounts, positives: Mapping[str, object], min_relevance: int, topics: Topics, qrels: QrelsDict
) -> None:
    if not positives:
        do = f"check that topics, qrels and collection belong together, and check {argument('min_relevance')}"
        raise TasbError(
            expected=f"topics with positives (grade {min_relevance} or more) that are in the collection",
            found=f"none of {counts.topics} topics: {counts.without_qrels} have no qrels, {counts.without_positive} no "
            f"positive, {counts.without_positive_text} no positive with a text",
            do=same_ids_advice(topics, qrels, do) if topics.keys().isdisjoint(qrels) else do,
        )


def _write(file: TextIO, query: Candidates, passages: TextStore, rules: MiningRules, counts: MiningCounts) -> None:
    positive_ids, negative_ids = passages.ids(query.positives), passages.ids(query.negatives)
    pairs = keep_clear_pairs(query, rules, counts).tolist()
    if query.taught is None:
        file.writelines(f"{query.qid}\t{positive_ids[p]}\t{negative_ids[n]}\n" for p, n in pairs)
        return
    # Of float32 these are the fewest digits that read back as the same number.
    of_positives, of_negatives = ([str(score) for score in scores] for scores in query.taught)
    file.writelines(
        f"{of_positives[p]}\t{of_negatives[n]}\t{query.qid}\t{positive_ids[p]}\t{negative_ids[n]}\n" for p, n in pairs
    )


def _require_pairs(counts: MiningCounts, output: Path) -> None:
    if counts.pairs:
        return
    removed = [f"{n} {_filled(what, format)}" for kind, what in REMOVALS.items() if (n := getattr(counts, kind))]
    found = f"none: {counts.hits} hits for {counts.topics} topics"
    found += f", of which {', '.join(removed)}" if removed else ""
    advice = (
        "fix the cause of most removals"
        if counts.hits
        else "check that the topics are those of the run, or that the index is of the kind you named"
    )
    raise TasbError(where=str(output), expected="pairs to write", found=found, do=advice)


def _filled(what: tuple[str, Argument | None], mention: Callable[[Argument], str]) -> str:
    text, decides = what
    return text.format(mention(decides)) if decides else text
